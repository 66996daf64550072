"""Requests to a server go together where they follow each other quickly, and at once where they do not."""

from __future__ import annotations

import dataclasses

import pytest

from evtfw.core.resource import JobContext
from evtfw.external.pacing import LONGEST_PAUSE_NS, MOMENT_NS, Pace
from tests.external.batching import manual, sizes, values
from tests.external.conftest import ROWS, ManualClock, rows, submit

SLOTS = 16


@pytest.fixture
def clock():
    return ManualClock()


def paced(clock, description=ROWS, **options):
    context = JobContext(clock, 1, SLOTS, lambda line: None)
    return manual(context, description, slots=SLOTS, paced=True, max_delay_s=0.002, **options)


def answer_quickly(clock, inner, batcher, count=40):
    """Let single requests be answered every 20 µs, each after 20 µs."""
    for i in range(count):
        outcome = submit(batcher, rows(i))
        clock.advance(20e-6)
        inner.pending[0].resolve()
        assert values(outcome) == [-i]


def test_before_anything_is_known_each_request_goes_at_once(clock):
    inner, batcher = paced(clock)
    for i in range(5):
        submit(batcher, rows(i))
    assert sizes(inner) == [1] * 5


def test_requests_that_follow_quickly_go_together_with_the_next_reply(clock):
    inner, batcher = paced(clock)
    answer_quickly(clock, inner, batcher)
    outcomes = [submit(batcher, rows(i)) for i in range(7)]
    assert sizes(inner) == [1, 1]  # the server has work, and one in its queue
    inner.pending[0].resolve()
    assert sizes(inner) == [1, 5]
    while inner.pending:
        inner.pending[0].resolve()
    assert [values(outcome) for outcome in outcomes] == [[-i] for i in range(7)]


def test_a_pause_is_a_small_part_of_the_time_of_a_reply(clock):
    inner, batcher = paced(clock)
    answer_quickly(clock, inner, batcher)
    for i in range(3):
        submit(batcher, rows(i))
    clock.advance(11e-6)
    submit(batcher, rows(3))
    assert sizes(inner) == [1, 1, 2]


def test_the_last_of_them_do_not_wait_for_more(clock):
    inner, batcher = paced(clock)
    answer_quickly(clock, inner, batcher)
    for i in range(4):
        submit(batcher, rows(i))
    batcher.flush()
    assert sizes(inner) == [1, 1]  # replies are about to come
    clock.advance(11e-6)
    batcher.flush()
    assert sizes(inner) == [1, 1, 2]


def test_if_no_reply_comes_they_are_sent_all_the_same(clock):
    inner, batcher = paced(clock)
    answer_quickly(clock, inner, batcher)
    for i in range(4):
        submit(batcher, rows(i))
    clock.advance(0.0021)
    assert sizes(inner) == [1, 1, 2]


def test_a_model_that_does_not_batch_is_not_paced(clock):
    inner, batcher = paced(clock, dataclasses.replace(ROWS, max_batch_size=0))
    answer_quickly(clock, inner, batcher)
    for i in range(4):
        submit(batcher, rows(i))
    assert sizes(inner) == [1] * 4


def test_slow_rows_are_not_put_together():
    pace = Pace()
    for number in range(50):
        pace.answered(number * 10, 1, number * 2 * MOMENT_NS)
    assert pace.rows == 1
    pace.sent(0)
    assert not pace.is_pause(1, 8, 0)


def test_rows_of_a_call_are_those_of_a_moment():
    pace = Pace()
    for number in range(1, 200):
        pace.answered((number - 4) * 100_000, 2, number * 100_000)
    assert pace.rows == MOMENT_NS // 50_000
    pace.sent(0)
    assert pace.is_pause(1, 2, 199_000)
    assert not pace.is_pause(1, 2, 201_000)
    assert not pace.is_pause(1, 1, 0)
    assert not pace.is_pause(pace.rows, 2, 0)


def test_a_pause_has_a_limit():
    pace = Pace()
    for number in range(1, 100):
        pace.answered(number * 100_000 - 10**9, 1, number * 100_000)
    pace.sent(0)
    assert pace.is_pause(1, 2, LONGEST_PAUSE_NS - 1)
    assert not pace.is_pause(1, 2, LONGEST_PAUSE_NS)
