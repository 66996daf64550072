"""However events are cut into files and chunks, and wherever reading begins: the same events come out."""

from __future__ import annotations

import itertools

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evtfw.io.chunking import Pace
from tests.io.source_inputs import (
    FORMATS,
    ids_of,
    make_events,
    make_source,
    read_all,
    slice_events,
    values_of,
    write_events,
)

EVENTS = make_events(300)
IDS = [(7, 1 + i // 10, i + 1) for i in range(300)]
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=FORMATS)
def inputs(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    cuts = [0, 120, 121, 240, 300]
    return request.param, [
        write_events(folder / f"{a}.x", slice_events(EVENTS, a, b), request.param, block=17)
        for a, b in itertools.pairwise(cuts)
    ]


@QUICK
@given(
    chunk_events=st.integers(1, 400),
    chunk_bytes=st.integers(1, 20_000),
    first=st.integers(0, 320),
    count=st.none() | st.integers(0, 320),
)
def test_chunking_changes_nothing(inputs, chunk_events, chunk_bytes, first, count):
    kind, files = inputs
    source = make_source(kind, files, chunk_events=chunk_events, chunk_bytes=chunk_bytes)
    columns = ["MET_pt", "Jet_pt", "era"]
    chunks = read_all(source, columns, first, count)
    wanted = slice(first, None if count is None else first + count)
    assert ids_of(chunks) == IDS[wanted]
    for name in columns:
        assert values_of(chunks, name) == ak.to_list(EVENTS[name])[wanted]


@QUICK
@given(
    lists=st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4), min_size=1, max_size=40),
    block=st.integers(1, 9),
)
def test_lists_come_back(tmp_path_factory, lists, block):
    counts = [len(values) for values in lists]
    array = ak.unflatten(np.array([v for values in lists for v in values], np.int32), counts)
    folder = tmp_path_factory.mktemp("lists")
    for kind in FORMATS:
        file = write_events(folder / f"{kind}.x", {"j": array, "event": np.arange(len(lists))}, kind, block)
        assert values_of(read_all(make_source(kind, file, chunk_events=3), ["j"]), "j") == lists


@QUICK
@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=30),
    chunk_events=st.integers(1, 2000),
    chunk_bytes=st.integers(1, 10_000),
    event_bytes=st.integers(0, 200),
)
def test_pace_always_goes_on_and_ends_at_the_end(sizes, chunk_events, chunk_bytes, event_bytes):
    boundaries = np.cumsum(sizes)
    last = int(boundaries[-1])
    pace, entry = Pace(chunk_events, chunk_bytes), 0
    while entry < last:
        wanted = pace.events
        end = pace.end_of_chunk(boundaries, entry, last)
        assert entry < end <= last
        assert end - entry <= max(4 * wanted, 0 if entry else chunk_events)
        pace.learn(end - entry, event_bytes * (end - entry))
        entry = end
    assert entry == last
