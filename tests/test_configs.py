"""Every shipped configuration runs as it is, and its expanded form to the same result."""

import re

import awkward as ak
import pytest
import uproot

from tests.conftest import REPOSITORY

CONFIGS = sorted((REPOSITORY / "configs").glob("*.py"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_a_shipped_configuration_runs(evtfw, config, tmp_path):
    (tmp_path / "expanded").mkdir()
    done = evtfw("run", config, "-n", "20", "-t", "2", "-s", "2")
    assert done.returncode == 0, done.stderr
    dumped = evtfw("dump", config)
    assert dumped.returncode == 0, dumped.stderr
    (tmp_path / "expanded" / "job.py").write_text(dumped.stdout)
    again = evtfw("run", "job.py", "-n", "20", "-t", "2", "-s", "2", cwd=tmp_path / "expanded")
    assert again.returncode == 0, again.stderr
    assert accounting(done.stdout) == accounting(again.stdout)


def accounting(summary):
    """The line of the summary that says what became of the events."""
    return re.search(r".* = \d+ read", summary)[0]


def test_the_top_tagger_runs_on_an_emulated_fpga(evtfw):
    done = evtfw(
        "run", REPOSITORY / "configs" / "toptag.py", "-n", "20", "-t", "2", "-s", "2", "--", "--backend", "fpga"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"toptag +20 +.* fpga:toptag", done.stdout)
    device = re.search(r"Emulated device.*?toptag +20 +([\d.]+) ms .* brainwave-arria10", done.stdout, re.DOTALL)
    assert float(device[1]) > 1.8, done.stdout


def test_versions_of_a_jet_classifier_run_side_by_side(evtfw, tmp_path):
    config = REPOSITORY / "configs" / "l1jets.py"
    done = evtfw("run", config, "-n", "100", "-t", "2", "-s", "4", "--", "--plots", "plots", "--score-min", "0.7")
    assert done.returncode == 0, done.stderr
    modelled = re.findall(r"(sixbits|trees) +100 +(\d+) ns", done.stdout)
    assert [label for label, _ in modelled] == ["sixbits", "trees"], done.stdout
    assert all(40 < int(nanoseconds) < 100 for _, nanoseconds in modelled)
    pictures = {file.name for file in (tmp_path / "plots").iterdir()}
    assert pictures == {"comparison_score.png", "comparison_difference.png", "comparison_decision.png"}
    with uproot.open(tmp_path / "l1jets_histograms.root") as file:
        (same, *different, neither), _ = file["comparison/decision_sixbits"].to_numpy()
    assert same + neither > 0.9 * (same + sum(different) + neither)
    with uproot.open(tmp_path / "l1jets.root") as file:
        scores = file["Events"].arrays(["sixbits_scores", "trees_scores", "floating_scores"])
    top = ak.max(scores["sixbits_scores"], axis=1) >= 0.7
    pair = ak.sum(scores["sixbits_scores"] >= 0.5, axis=1) >= 2
    assert len(scores) > 10
    assert ak.all(top | pair)
