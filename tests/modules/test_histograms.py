import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evtfw import EndPath, Job, Process
from evtfw.modules import JetHistograms, TopTagHistograms
from evtfw.testing import ListSource

from .particles import jets_of


def accumulated(analyzer, rows, streams=3):
    process = Process("TEST")
    process.source = ListSource.of(rows)
    process.histograms = analyzer
    process.end = EndPath(process.histograms)
    process.set_options(threads=2, streams=streams)
    result = Job(process).run()
    assert result.error is None
    return result.accumulators["histograms"]


def random_jets(count):
    random = np.random.default_rng(1)
    return [
        jets_of(*zip(random.uniform(200, 900, n), random.uniform(-2, 2, n), random.uniform(-3, 3, n), strict=True))
        for n in random.integers(0, 4, count)
    ]


@pytest.mark.parametrize("events", [3, 1500])
def test_every_jet_is_counted_once_whatever_the_number_of_events(events):
    jets = random_jets(events)
    found = accumulated(JetHistograms(jets="source:jets", bins=20), [{"jets": j} for j in jets])
    assert set(found) == {"pt", "eta", "mass"}
    all_pt = np.concatenate([j.pt_gev for j in jets])
    assert_array_equal(found["pt"].values(), np.histogram(all_pt, 20, (0, 1000))[0])
    assert found["eta"].sum(flow=True) == found["mass"].sum(flow=True) == len(all_pt)


def test_axes_say_quantity_and_unit():
    found = accumulated(JetHistograms(jets="source:jets"), [{"jets": jets_of()}])
    assert {name: h.axes[0].label for name, h in found.items()} == {
        "pt": "jet $p_T$ [GeV]",
        "eta": r"jet $\eta$",
        "mass": "jet mass [GeV]",
    }


def test_top_tag_histograms_add_mass_and_score():
    row = {
        "jets": jets_of((600.0, 0.0, 0.0), (560.0, 1.0, 1.0)),
        "mass": np.array([172.0, 12.0], np.float32),
        "scores": np.array([1.0, 0.02], np.float32),
    }
    analyzer = TopTagHistograms(
        jets="source:jets", softdrop_mass_gev="source:mass", scores="source:scores", bins=10, mass_max_gev=200.0
    )
    found = accumulated(analyzer, [row, row])
    assert_array_equal(found["score"].values(), [2, 0, 0, 0, 0, 0, 0, 0, 0, 2])
    assert_array_equal(found["softdrop_mass"].values(), [2, 0, 0, 0, 0, 0, 0, 0, 2, 0])
    assert found["pt"].sum() == 4
