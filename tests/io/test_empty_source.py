"""Generated events."""

from __future__ import annotations

import numpy as np
import pytest

from evtfw.io.empty_source import EmptySource
from tests.io.source_inputs import event_numbers, ids_of, read_all, values_of


def test_ids_count_up_through_blocks_and_runs():
    source = EmptySource(events=7, events_per_lumi=2, lumis_per_run=2, first_run=5)
    assert ids_of(read_all(source, [])) == [
        (5, 1, 1), (5, 1, 2), (5, 2, 3), (5, 2, 4), (6, 1, 5), (6, 1, 6), (6, 2, 7),
    ]  # fmt: skip
    assert source.event_count() == 7


@pytest.mark.parametrize(
    ("first", "count"), [(0, None), (3, 2), (16_380, 10), (16_384, 1), (39_999, 9), (40_000, None)]
)
def test_first_and_count(first, count):
    source = EmptySource(events=40_000, values_mean=2.0, payload_bytes=3)
    whole = read_all(source, ["values", "payload"])
    part = read_all(source, ["values", "payload"], first, count)
    stop = 40_000 if count is None else min(40_000, first + count)
    assert event_numbers(part) == list(range(first + 1, stop + 1))
    for name in ("values", "payload"):
        assert values_of(part, name)[:50] == values_of(whole, name)[first:stop][:50]


def test_huge_counts_are_cheap():
    source = EmptySource(events=10**12)
    chunk = next(source.chunks([], 10**12 - 3, None))
    assert event_numbers([chunk]) == [10**12 - 2, 10**12 - 1, 10**12]


def test_columns_are_offered_only_if_wanted_and_follow_the_seed():
    assert dict(EmptySource(events=1).columns()) == {}
    first, again, other = (
        values_of(read_all(EmptySource(events=2000, values_mean=5.0, seed=seed), ["values"]), "values")
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert np.mean([len(values) for values in first]) == pytest.approx(5.0, abs=0.3)


def test_large_payloads_come_in_chunks_of_bounded_memory():
    source = EmptySource(events=100, payload_bytes=1 << 20)
    chunks = source.chunks(["payload"], 0, None)
    assert [len(next(chunks)), len(next(chunks))] == [32, 32]


def test_payload_cannot_be_written():
    chunk = read_all(EmptySource(events=2, payload_bytes=8), ["payload"])[0]
    with pytest.raises(ValueError, match="read-only"):
        chunk.columns["payload"][0][0] = 1
