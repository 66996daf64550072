"""What RootSource and ParquetSource have in common."""

from __future__ import annotations

import logging

import awkward as ak
import numpy as np
import pytest
from numpy.typing import NDArray

from evtfw.core.errors import InputError
from tests.io.source_inputs import (
    FORMATS,
    SUFFIX,
    event_numbers,
    ids_of,
    make_events,
    make_source,
    read_all,
    values_of,
    write_events,
)

EVENTS = make_events(250)


@pytest.fixture(scope="module", params=FORMATS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def file(kind, tmp_path_factory):
    return write_events(tmp_path_factory.mktemp(kind) / f"events.{SUFFIX[kind]}", EVENTS, kind)


def test_every_kind_of_column_comes_back(kind, file):
    chunks = read_all(make_source(kind, file), list(EVENTS))
    for name, values in EVENTS.items():
        assert values_of(chunks, name) == ak.to_list(values), name
    assert ids_of(chunks) == [(7, 1 + i // 10, i + 1) for i in range(250)]
    assert chunks[0].origin == str(file)
    assert chunks[0].size_bytes > 0


def test_types_are_what_rows_are(kind, file):
    offered = make_source(kind, file).columns()
    assert offered["MET_pt"].type is np.float32
    assert offered["passed"].type is np.bool_
    assert offered["era"].type is str
    assert offered["vertex"].type == NDArray[np.float64]
    assert offered["Jet_pt"].type == NDArray[np.float32]
    assert offered["Jet_id"].type == NDArray[np.int32]
    assert "Jet_mass" not in offered


def test_rows_are_read_only_views(kind, file):
    chunk = read_all(make_source(kind, file), ["Jet_pt", "vertex"])[0]
    row = next(i for i in range(len(chunk)) if len(chunk.columns["Jet_pt"][i]))
    for name in ("Jet_pt", "vertex"):
        values = chunk.columns[name][row]
        assert values.base is not None
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


def test_only_asked_columns_are_there(kind, file):
    chunks = read_all(make_source(kind, file), ["MET_pt"])
    assert [set(chunk.columns) for chunk in chunks] == [{"MET_pt"}] * len(chunks)
    assert set(read_all(make_source(kind, file), [])[0].columns) == set()


def test_the_first_chunk_is_small_and_chunks_end_where_the_file_s_units_end(kind, tmp_path):
    events = make_events(2400)
    file = write_events(tmp_path / "many", {n: events[n] for n in ("event", "MET_pt")}, kind, block=400)
    lengths = [len(chunk) for chunk in read_all(make_source(kind, file, chunk_events=1000), ["MET_pt"])]
    assert lengths == [400, 800, 800, 400]


def test_chunks_are_bounded_by_memory(kind, tmp_path):
    events = {"event": np.arange(4000, dtype=np.uint64), "x": np.zeros((4000, 10))}
    file = write_events(tmp_path / "wide", events, kind, block=100)
    chunks = read_all(make_source(kind, file, chunk_bytes=88 * 300), ["x"])
    assert max(len(chunk) for chunk in chunks[1:]) == 300


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, 5), (99, 2), (100, None), (249, 1), (250, None), (400, 3)])
def test_first_and_count(kind, file, first, count):
    chunks = read_all(make_source(kind, file), ["MET_pt"], first, count)
    stop = None if count is None else first + count
    assert event_numbers(chunks) == list(range(1, 251))[first:stop]
    if chunks:
        assert chunks[0].first_entry == first


def test_events_passed_over_are_not_read(kind, file, monkeypatch):
    source = make_source(kind, file)
    source.columns()
    opened = source._inputs.first()
    read, ranges = opened.read, []
    monkeypatch.setattr(opened, "read", lambda names, a, b: ranges.append((a, b)) or read(names, a, b))
    assert [len(chunk) for chunk in source.chunks(["MET_pt"], 120, 10)] == [10]
    assert ranges == [(120, 130)]


def test_several_files_are_one_sequence(kind, tmp_path):
    files = [
        write_events(tmp_path / f"{i}.x", make_events(n, seed=i, first_event=1 + 1000 * i), kind)
        for i, n in enumerate((30, 0, 20, 5))
    ]
    source = make_source(kind, files)
    chunks = read_all(source, ["MET_pt", "Jet_pt"], 10, 42)
    assert event_numbers(chunks) == [*range(11, 31), *range(2001, 2021), 3001, 3002]
    assert [(chunk.origin, chunk.first_entry) for chunk in chunks] == [
        (str(files[0]), 10), (str(files[2]), 0), (str(files[3]), 0),
    ]  # fmt: skip
    assert make_source(kind, files).event_count() == 55
    assert source.skipped == ()


def test_a_source_can_be_read_twice(kind, file):
    source = make_source(kind, file)
    assert event_numbers(read_all(source, ["era"])) == event_numbers(read_all(source, ["era"]))


def test_missing_ids_are_made_up_and_said_so_once(kind, tmp_path, caplog):
    events = {"MET_pt": np.zeros(3, np.float32)}
    files = [write_events(tmp_path / f"{i}.x", events, kind) for i in range(2)]
    with caplog.at_level(logging.WARNING):
        chunks = read_all(make_source(kind, files), ["MET_pt"])
    assert ids_of(chunks) == [(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 2, 1), (1, 2, 2), (1, 2, 3)]
    assert [record.message for record in caplog.records if "made up" in record.message] == [caplog.records[0].message]
    assert "'run' or 'luminosityBlock' or 'event'" in caplog.records[0].message


def test_ids_may_have_other_names(kind, tmp_path):
    events = {
        "RunNumber": np.array([3, 3], np.int32),
        "LS": np.array([1, 2]),
        "EventNumber": np.array([8, 9], np.int64),
    }
    file = write_events(tmp_path / "own", events, kind)
    names = {"run_column": "RunNumber", "lumi_column": "LS", "event_column": "EventNumber"}
    assert ids_of(read_all(make_source(kind, file, **names), [])) == [(3, 1, 8), (3, 2, 9)]
    with pytest.raises(InputError, match=r"no \w+ 'EventNo' to take the event number from; did you mean 'EventNumber'"):
        make_source(kind, file, **{**names, "event_column": "EventNo"}).columns()


def test_ids_must_be_integers(kind, tmp_path):
    file = write_events(tmp_path / "float", {"event": np.array([1.0, 2.0]), "x": np.zeros(2)}, kind)
    with pytest.raises(InputError, match="'event' cannot be the event number: it is float64"):
        make_source(kind, file).columns()


def test_a_file_without_events_is_legitimate_but_said(kind, tmp_path, caplog):
    file = write_events(tmp_path / "none", make_events(0), kind)
    source = make_source(kind, file)
    assert read_all(source, ["Jet_pt"]) == []
    assert source.event_count() == 0
    assert [record.levelname for record in caplog.records if "has 0 events" in record.message] == ["WARNING"]
