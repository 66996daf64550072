"""Which events a job takes: numbers, ranges and masks."""

from __future__ import annotations

import json
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw import Analyzer, ConfigurationError, EndPath, Event, Job, JobResult, Process
from evtfw.core.process import ProcessOptions
from evtfw.core.selection import Selection
from evtfw.core.source import Chunk
from evtfw.testing import ListSource, SimulatedRuntime


def run(count: int, per_lumi: int = 10, **options: Any) -> tuple[list[int], JobResult]:
    seen: list[int] = []

    class Look(Analyzer):
        def analyze(self, event: Event) -> None:
            seen.append(event.id.event)

    process = Process("SELECT")
    process.source = ListSource.of([{} for _ in range(count)], per_lumi)
    process.look = Look()
    process.end = EndPath(process.look)
    process.set_options(streams=1, **options)
    return seen, Job(process, runtime=SimulatedRuntime()).run()


@given(events=st.integers(0, 40), skip=st.integers(0, 50), limit=st.none() | st.integers(0, 50))
def test_skip_and_max(events: int, skip: int, limit: int | None) -> None:
    seen, result = run(events, skip_events=skip, max_events=limit)
    expected = list(range(1, events + 1))[skip:]
    assert seen == (expected if limit is None else expected[:limit])
    assert result.events_read == len(seen)


def test_event_ranges() -> None:
    seen, result = run(30, events=("1:1:3", "1:2:15-1:3:22"))
    assert seen == [3, *range(15, 23)]
    assert result.events_deselected == 21


def test_skip_counts_selected_events() -> None:
    seen, _ = run(30, events=("1:2:1-1:3:99",), skip_events=2, max_events=3)
    assert seen == [13, 14, 15]


def test_lumi_mask(tmp_path: FilePath) -> None:
    mask = tmp_path / "mask.json"
    mask.write_text(json.dumps({"1": [[2, 2], [4, 9]], "7": [[1, 1]]}))
    seen, _ = run(40, lumi_mask=str(mask))
    assert seen == [*range(11, 21), *range(31, 41)]


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not JSON"), ('{"1": [1, 2]}', "must look like"), ("[1]", "must look like")]
)
def test_bad_mask_is_named(tmp_path: FilePath, content: str, message: str) -> None:
    mask = tmp_path / "mask.json"
    mask.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        run(1, lumi_mask=str(mask))
    assert str(mask) in str(caught.value)


def test_bad_range_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'1:x': write RUN:LUMI:EVENT"):
        run(1, events=("1:x",))


triples = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9))


@given(ids=st.lists(triples, min_size=1, max_size=30), low=triples, high=triples)
def test_ranges_are_lexical(ids: list[tuple[int, int, int]], low: Any, high: Any) -> None:
    chunk = Chunk(*(np.array(column, dtype=np.uint64) for column in zip(*ids, strict=True)), {})
    text = ":".join(map(str, low)) + "-" + ":".join(map(str, high))
    selection = Selection.from_options(ProcessOptions(events=(text,)))  # type: ignore[call-arg]
    assert list(selection.rows(chunk)) == [i for i, triple in enumerate(ids) if low <= triple <= high]
