import json
import subprocess
import sys

import hist
import numpy as np
import pytest
import uproot
from pydantic import TypeAdapter, ValidationError

from evtfw.core.errors import OutputError
from evtfw.io.histogram_output import HistogramOutput, matches
from tests.io.fake_events import chunk_of, event_of, running

PNG = b"\x89PNG\r\n"


def filled(*axes, values, storage="Double", **options):
    histogram = hist.Hist(*axes, storage=getattr(hist.storage, storage)(), **options)
    histogram.fill(*values)
    return histogram


def mass(values=(1.0, 2.0, 2.5), **options):
    return filled(hist.axis.Regular(5, 0, 5, name="m", label="mass [GeV]"), values=[np.array(values)], **options)


def finish(output, accumulators):
    output.begin_job()
    output.collect(accumulators)
    output.end_job()
    return output


def test_histograms_are_in_the_root_file_under_their_module(tmp_path):
    path = tmp_path / "h.root"
    histogram = mass()
    output = finish(running(HistogramOutput, path), {"tops": {"mass": histogram}})
    with uproot.open(path) as file:
        assert file["tops/mass"].classname == "TH1D"
        np.testing.assert_array_equal(file["tops/mass"].values(), histogram.values())
        assert file["tops/mass"].axis().all_members["fTitle"] == "mass [GeV]"
    assert output.written == 1
    assert output.bytes_written == path.stat().st_size


def test_each_storage_and_dimension_finds_its_class(tmp_path):
    path = tmp_path / "h.root"
    x, y, z = (hist.axis.Regular(3, 0, 1, name=name) for name in "xyz")
    many = np.linspace(0, 0.99, 30)
    sums = {
        "whole": filled(x, values=[many], storage="Int64"),
        "plane": filled(x, y, values=[many, many], storage="Int64"),
        "space": filled(x, y, z, values=[many, many, many]),
        "mean": hist.Hist(x, storage=hist.storage.Mean()).fill(many, sample=many),
        "weights": hist.Hist(x, storage=hist.storage.Weight()).fill(many, weight=2.0),
    }
    finish(running(HistogramOutput, path), {"a": sums})
    with uproot.open(path) as file:
        classes = {name: file[f"a/{name}"].classname for name in sums}
        assert classes == {"whole": "TH1D", "plane": "TH2D", "space": "TH3D", "mean": "TProfile", "weights": "TH1D"}
        for name, histogram in sums.items():
            np.testing.assert_allclose(file[f"a/{name}"].values(), histogram.values())
        np.testing.assert_allclose(file["a/weights"].variances(), sums["weights"].variances())
        np.testing.assert_allclose(file["a/whole"].values(flow=True), sums["whole"].values(flow=True))


def test_categories_become_histograms_of_their_own(tmp_path):
    path = tmp_path / "h.root"
    kinds = hist.axis.StrCategory(["top", "light quark"], name="kind")
    histogram = hist.Hist(kinds, hist.axis.Regular(2, 0, 2, name="m"))
    histogram.fill("top", [0.5])
    histogram.fill("light quark", [1.5, 1.6])
    cuts = hist.Hist(hist.axis.StrCategory(["all", "tagged"])).fill(["all", "all", "tagged"])
    finish(running(HistogramOutput, path), {"a": {"mass": histogram, "cuts": cuts}})
    with uproot.open(path) as file:
        assert file["a/mass_top"].values().tolist() == [1, 0]
        assert file["a/mass_light_quark"].values().tolist() == [0, 2]
        assert file["a/cuts"].axis().labels() == ["all", "tagged"]
        assert file["a/cuts"].values().tolist() == [2, 1]


@pytest.mark.parametrize(("plots", "names"), [("plots", ["a_cuts.png", "a_kinds.png", "a_mass.png", "a_plane.png"])])
def test_pictures(tmp_path, plots, names):
    x, y = (hist.axis.Regular(3, 0, 1, name=name) for name in "xy")
    many = np.linspace(0, 0.99, 30)
    kinds = hist.Hist(hist.axis.StrCategory(["top", "qcd"], name="kind"), x).fill(["top", "qcd"], [0.5, 0.6])
    cuts = hist.Hist(hist.axis.StrCategory(["all", "tagged"])).fill(["all", "all", "tagged"])
    sums = {"mass": mass(), "plane": filled(x, y, values=[many, many]), "kinds": kinds, "cuts": cuts}
    output = running(HistogramOutput, tmp_path / "h.root", plots=str(tmp_path / plots), log_scale=("a:*",))
    finish(output, {"a": sums})
    pictures = sorted((tmp_path / plots).iterdir())
    assert [picture.name for picture in pictures] == names
    assert all(picture.read_bytes().startswith(PNG) for picture in pictures)


@pytest.mark.parametrize(("suffix", "start"), [("png", PNG), ("pdf", b"%PDF"), ("svg", b"<?xml")])
@pytest.mark.parametrize("values", [[], [-1.0], [1.0, 2.0]])
def test_formats_of_pictures_also_of_empty_histograms(tmp_path, suffix, start, values):
    pattern = str(tmp_path / f"pictures/{{label}}-{{name}}.{suffix}")
    output = running(HistogramOutput, tmp_path / "h.root", plots=pattern, log_scale=("a",))
    finish(output, {"a": {"mass": mass(values)}})
    assert (tmp_path / f"pictures/a-mass.{suffix}").read_bytes().startswith(start)


def test_numbers_go_to_json_and_other_things_are_named(tmp_path, caplog):
    sums = {"seen": np.int64(3), "each": np.arange(2), "by_kind": {"top": 1.5}, "set": {1}}
    finish(running(HistogramOutput, tmp_path / "h.root"), {"a": sums, "b": {"mass": mass()}})
    expected = {"a": {"seen": 3, "each": [0, 1], "by_kind": {"top": 1.5}}}
    assert json.loads((tmp_path / "h.json").read_text()) == expected
    assert "a:set" in caplog.text


def test_rules_choose_what_is_written(tmp_path):
    path = tmp_path / "h.root"
    sums = {"mass": mass(), "pt": mass()}
    finish(running(HistogramOutput, path, keep=("*", "drop a:pt")), {"a": sums, "b": sums})
    with uproot.open(path) as file:
        assert sorted(file.keys(recursive=True, cycle=False, filter_classname="TH1D")) == ["a/mass", "b/mass", "b/pt"]
    assert matches(("a",), "a", "mass")
    assert not matches(("a:pt",), "a", "mass")


def test_after_a_failed_job_there_is_only_a_part(tmp_path):
    path = tmp_path / "h.root"
    output = running(HistogramOutput, path, plots=str(tmp_path / "plots"))
    output.begin_job()
    output.collect({"a": {"mass": mass()}})
    output.job_failed = True
    output.end_job()
    assert not path.exists()
    assert list((tmp_path / "plots").iterdir()) == []
    with uproot.open(tmp_path / "h.root.part") as file:
        assert "a/mass" in file


def test_events_are_not_kept(tmp_path):
    output = running(HistogramOutput, tmp_path / "h.root")
    output.begin_job()
    event = event_of(0, chunk_of(1), 0)
    assert output.write(event) is False
    output.skip(event)
    output.end_job()


def test_a_histogram_with_too_many_axes_is_an_error_that_says_how_to_leave_it_out(tmp_path):
    axes = [hist.axis.Regular(2, 0, 1, name=name) for name in "wxyz"]
    output = running(HistogramOutput, tmp_path / "h.root")
    output.begin_job()
    output.collect({"a": {"four": hist.Hist(*axes)}})
    with pytest.raises(OutputError, match=r"'a:four'.*'drop a:four'"):
        output.end_job()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("plots", "message"), [("{nam}.png", "placeholders"), ("one.png", "add {name}")])
def test_a_pattern_that_cannot_be_is_a_mistake_of_the_configuration(plots, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(HistogramOutput.declarations["plots"].type).validate_python(plots)


def test_a_missing_folder_is_told_before_the_first_event(tmp_path):
    with pytest.raises(OutputError, match=r"create it first"):
        running(HistogramOutput, tmp_path / "missing" / "h.root").begin_job()


def test_heavy_libraries_are_not_imported_before_the_end():
    program = (
        "import sys, evtfw.io.histogram_output; sys.exit(len({'matplotlib', 'hist', 'uproot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
