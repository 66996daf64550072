"""What is RootSource's own: trees, names, titles, nesting, and the shipped sample."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

import evtfw.data
from evtfw.core.errors import InputError
from evtfw.io.root_source import RootSource
from evtfw.io.ttree import TreeFile
from tests.io.source_inputs import make_events, make_source, read_all, values_of, write_events


def test_the_shipped_sample_is_read_as_uproot_reads_it():
    path = evtfw.data.path("toptag_sample.root")
    source = RootSource(files=path)
    names = [n for n in source.columns() if n.startswith(("FatJet_", "PFCands_", "FatJetPFCands_"))]
    chunks = list(source.chunks(names, 0, None))
    with uproot.open(path) as file:
        expected = file["Events"].arrays(names, library="ak", how=dict)
    assert sum(map(len, chunks)) == source.event_count() == len(expected["FatJet_pt"])
    for name in names:
        content = np.concatenate([chunk.columns[name].content for chunk in chunks])
        counts = np.concatenate([np.diff(chunk.columns[name].offsets) for chunk in chunks])
        assert np.array_equal(content, ak.to_numpy(ak.flatten(expected[name])), equal_nan=content.dtype.kind == "f")
        assert np.array_equal(counts, ak.to_numpy(ak.num(expected[name])))


def test_names_that_are_no_python_names_and_trees_in_folders(tmp_path):
    columns = {name: np.arange(5.0) + i for i, name in enumerate(("x", "y", "x-y", "a.b", "if", "HLT_Mu50 || x"))}
    with uproot.recreate(tmp_path / "odd.root") as file:
        file["folder/Data"] = columns
    source = RootSource(files=str(tmp_path / "odd.root"), tree="folder/Data")
    chunks = read_all(source, list(columns))
    assert {name: values_of(chunks, name) for name in columns} == {n: v.tolist() for n, v in columns.items()}


def test_nested_lists_come_as_awkward_arrays(tmp_path):
    nested = [[[1.0, 2.0], []], [], [[3.0]]]
    with uproot.recreate(tmp_path / "nested.root") as file:
        file.mkrntuple("Events", {"hits": ak.Array(nested), "event": np.arange(3, dtype=np.uint64)})
    source = RootSource(files=str(tmp_path / "nested.root"))
    assert source.columns()["hits"].type is ak.Array
    assert values_of(read_all(source, ["hits"]), "hits") == nested


def test_titles_are_docs(tmp_path):
    file = write_events(tmp_path / "a.root", make_events(3))
    assert make_source("ttree", file).columns()["Jet_pt"].doc == ""  # "Jet_pt[nJet_pt]/F" is no text for readers


def test_types_are_worked_out_only_when_asked_for(tmp_path, monkeypatch):
    write_events(tmp_path / "wide.root", {f"b{i}": np.zeros(2) for i in range(300)})
    described = []
    describe = TreeFile._describe
    monkeypatch.setattr(TreeFile, "_describe", lambda self, name: described.append(name) or describe(self, name))
    source = RootSource(files=str(tmp_path / "wide.root"))
    columns = source.columns()
    assert len(columns) == 300
    assert "b7" in columns
    assert list(source.chunks(["b7"], 0, None))
    assert described == ["b7"]


def test_urls_are_read_through_fsspec(tmp_path):
    file = write_events(tmp_path / "a.root", make_events(30))
    source = RootSource(files=f"file://{file}")
    assert len(values_of(read_all(source, ["Jet_pt"]), "Jet_pt")) == 30


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("Event", r"there is no tree 'Event'; known: Events, other/Runs$"),
        ("histogram", r"'histogram' is a TH1D, not a tree; known: Events, other/Runs$"),
    ],
)
def test_a_missing_tree_is_told_with_those_that_are_there(tmp_path, tree, message):
    with uproot.recreate(tmp_path / "a.root") as file:
        file["Events"] = {"x": np.zeros(1)}
        file["other/Runs"] = {"x": np.zeros(1)}
        file["histogram"] = np.histogram([1.0])
    with pytest.raises(InputError, match=message):
        RootSource(files=str(tmp_path / "a.root"), tree=tree).columns()


def test_a_file_without_trees_says_so(tmp_path):
    with uproot.recreate(tmp_path / "a.root") as file:
        file["histogram"] = np.histogram([1.0])
    with pytest.raises(InputError, match="it holds no TTree or RNTuple at all"):
        RootSource(files=str(tmp_path / "a.root")).columns()
