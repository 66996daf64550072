from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.core.errors import (
    BadRequest,
    DeadlineExceeded,
    ServerUnavailable,
)
from evtfw.core.resource import JobContext
from evtfw.external.batcher import Batcher
from evtfw.external.contract import ModelDescription, Provenance, Reply, Request, TensorSpec, Times
from evtfw.external.pool import PooledBackend
from tests.external.batching import manual, negated, sizes, values
from tests.external.conftest import ROWS, ManualClock, Outcome, rows, submit


def test_a_free_slot_is_used_at_once_and_a_taken_one_collects(context):
    inner, batcher = manual(context)
    outcomes = [submit(batcher, rows(i)) for i in range(4)]
    assert sizes(inner) == [1]
    inner.pending[0].resolve()
    assert sizes(inner) == [3]
    inner.pending[0].resolve()
    assert [values(outcome) for outcome in outcomes] == [[0], [-1], [-2], [-3]]
    assert (batcher.statistics.batches, batcher.statistics.requests, batcher.statistics.rows) == (2, 4, 4)


def test_what_was_collected_is_shared_among_the_slots(context):
    inner, batcher = manual(context, slots=2)
    for i in range(8):
        submit(batcher, rows(i))
    assert sizes(inner) == [1, 1]
    inner.pending[0].resolve()
    inner.pending[0].resolve()
    assert sizes(inner) == [3, 2]


def test_a_batch_is_not_larger_than_allowed_by_user_and_model(context):
    for description, options in (
        (ROWS, {"max_batch": 2}),
        (dataclasses.replace(ROWS, max_batch_size=2), {"max_batch": 5}),
        (dataclasses.replace(ROWS, max_batch_size=2), {}),
    ):
        inner, batcher = manual(context, description, **options)
        for i in range(4):
            submit(batcher, rows(i))
        inner.pending[0].resolve()
        assert sizes(inner) == [2]
        assert batcher.describe().max_batch_size is None


def test_requests_that_do_not_fit_keep_their_order(context):
    inner, batcher = manual(context, max_batch=4)
    outcomes = [submit(batcher, rows(*[i] * count)) for i, count in enumerate((1, 3, 2, 2))]
    sent = []
    while inner.pending:
        sent.append(inner.pending[0].inputs["x"].ravel().tolist())
        inner.pending[0].resolve()
    assert sent == [[0], [1, 1, 1], [2, 2, 3, 3]]
    assert values(outcomes[3]) == [-3, -3]


def test_results_are_views_and_a_single_request_is_passed_on_uncopied(context):
    inner, batcher = manual(context)
    alone = rows(9)
    outcomes = [submit(batcher, alone), submit(batcher, rows(1)), submit(batcher, rows(2))]
    assert inner.pending[0].inputs["x"] is alone["x"]
    inner.pending[0].resolve()
    inner.pending[0].resolve()
    assert outcomes[1].reply["y"].base is outcomes[2].reply["y"].base


def test_a_large_request_is_split_and_joined(context):
    inner, batcher = manual(context, slots=2, max_batch=2)
    outcome = submit(batcher, rows(1, 2, 3, 4, 5))
    assert sizes(inner) == [2, 2]
    inner.pending[1].resolve()
    assert sizes(inner) == [2, 1]
    inner.pending[1].resolve()
    assert not outcome.is_there
    inner.pending[0].resolve()
    assert values(outcome) == [-1, -2, -3, -4, -5]


def test_if_a_part_fails_the_whole_fails_once_and_the_rest_is_given_up(context):
    inner, batcher = manual(context, slots=2, max_batch=1)
    outcome = submit(batcher, rows(1, 2, 3))
    second = inner.pending[1]
    inner.pending[0].fail(ServerUnavailable("gone"))
    assert isinstance(outcome.error, ServerUnavailable)
    assert second.was_cancelled
    assert [request.inputs["x"].item() for request in inner.pending] == [2]
    assert outcome.times_ended == 1


def test_giving_up_a_large_request_gives_up_its_parts(context):
    inner, batcher = manual(context, slots=2, max_batch=1)
    outcome = Outcome()
    batcher.submit(rows(1, 2, 3), outcome.done)
    outcome.done.cancel()
    assert all(request.was_cancelled for request in inner.pending)
    assert sizes(inner) == [1, 1]


def test_an_empty_request_makes_no_call(context):
    inner, batcher = manual(context)
    outcome = submit(batcher, {"x": np.empty((0, 1), np.float32)})
    assert inner.pending == []
    assert outcome.reply["y"].shape == (0, 1)
    assert outcome.reply["y"].dtype == np.float32
    assert outcome.reply.provenance.model == "rows"


def test_a_wrong_request_fails_alone_and_is_not_sent(context):
    inner, batcher = manual(context)
    outcome = submit(batcher, {"z": np.zeros((1, 1), np.float32)})
    assert isinstance(outcome.error, BadRequest)
    assert inner.pending == []


def test_who_gave_up_or_is_late_is_left_out(context, clock):
    inner, batcher = manual(context)
    first, given_up, kept = submit(batcher, rows(0)), Outcome(), Outcome(deadline_ns=2_000_000_000)
    late = Outcome(deadline_ns=1_000_000_000)
    for outcome, value in ((given_up, 1), (late, 2), (kept, 3)):
        batcher.submit(rows(value), outcome.done)
    given_up.done.cancel()
    clock.advance(1.5)
    inner.pending[0].resolve()
    assert inner.pending[0].inputs["x"].tolist() == [[3]]
    assert isinstance(late.error, DeadlineExceeded)
    assert "mock:rows" in str(late.error)
    assert first.is_there
    assert not given_up.is_there


def test_a_batch_is_given_up_when_nobody_wants_it_any_more(context):
    inner, batcher = manual(context)
    submit(batcher, rows(0))
    one, two = Outcome(), Outcome()
    batcher.submit(rows(1), one.done)
    batcher.submit(rows(2), two.done)
    inner.pending[0].resolve()
    batch = inner.pending[0]
    one.done.cancel()
    assert not batch.was_cancelled
    two.done.cancel()
    assert batch.was_cancelled
    # its slot is free again, and a reply that comes all the same is refused
    waiting = submit(batcher, rows(3))
    assert inner.pending[1].inputs["x"].tolist() == [[3]]
    batch.resolve()
    inner.pending[0].resolve()
    assert values(waiting) == [-3]


@pytest.mark.parametrize(("deadlines", "expected"), [((5, 9), 9), ((5, None), None), ((None, None), None)])
def test_a_batch_is_useful_until_the_last_of_its_deadlines(context, deadlines, expected):
    inner, batcher = manual(context)
    submit(batcher, rows(0))
    outcomes = [submit(batcher, rows(1), deadline_ns=deadline_ns) for deadline_ns in deadlines]
    inner.pending[0].resolve()
    assert inner.pending[0]._done.deadline_ns == expected
    inner.pending[0].resolve()
    assert all(outcome.error is None for outcome in outcomes)


def test_the_delay_is_bounded_where_the_inner_backend_has_a_queue(context, clock):
    inner, batcher = manual(context, max_delay_s=0.01)
    for i in range(3):
        submit(batcher, rows(i))
    clock.advance(0.009)
    assert sizes(inner) == [1]
    clock.advance(0.002)
    assert sizes(inner) == [1, 2]
    submit(batcher, rows(4))
    clock.advance(0.011)
    assert sizes(inner) == [1, 2, 1]


def test_flush_sends_what_was_collected(context):
    inner, batcher = manual(context, max_delay_s=10)
    for i in range(3):
        submit(batcher, rows(i))
    batcher.flush()
    assert sizes(inner) == [1, 2]
    inner.pending[0].resolve()
    batcher.flush()
    submit(batcher, rows(3))
    assert sizes(inner) == [2, 1]  # the slot that the first batch left is used again, once
    submit(batcher, rows(4))
    assert sizes(inner) == [2, 1]


def test_flush_lets_a_local_backend_finish_first(context):
    inner, batcher = manual(context)
    submit(batcher, rows(1))
    submit(batcher, rows(2))
    batcher.flush()
    assert sizes(inner) == [1]


def test_batches_are_limited_by_the_time_they_take(context):
    inner, batcher = manual(context, gather_s=0.001)

    def resolve(row_ns):
        request = inner.pending[0]
        count = len(request.inputs["x"])
        inner.pending.remove(request)
        reply = Reply(negated(request.inputs), Provenance("mock:"), Times(compute_ns=row_ns * count))
        request._done.resolve(reply)

    for i in range(12):
        submit(batcher, rows(i))
    seen = []
    while inner.pending:
        seen += sizes(inner)
        resolve(row_ns=250_000)
    assert seen == [1, 4, 4, 3]


def test_only_requests_of_the_same_shape_share_a_batch(context):
    spec = (TensorSpec("x", np.dtype("f4"), (None, None)),)
    ragged = ModelDescription("ragged", inputs=spec, max_batch_size=None)
    inner, batcher = manual(context, ragged)
    widths = (2, 3, 3, 2)
    for width in widths:
        submit(batcher, {"x": np.ones((1, width), np.float32)})
    shapes = []
    while inner.pending:
        shapes.append(inner.pending[0].inputs["x"].shape)
        inner.pending[0].resolve()
    assert shapes == [(1, 2), (2, 3), (1, 2)]


def test_a_model_without_description_batches_what_is_alike(context):
    inner, batcher = manual(context, ModelDescription("any", max_batch_size=None))
    submit(batcher, rows(0))
    submit(batcher, rows(1))
    submit(batcher, rows(2))
    submit(batcher, {"z": np.zeros((1, 1))})
    inner.pending[0].resolve()
    assert sizes(inner) == [2]


def test_without_a_batch_axis_requests_stay_as_they_are(context):
    whole = dataclasses.replace(ROWS, max_batch_size=0)
    inner, batcher = manual(context, whole, max_batch=2)
    outcomes = [submit(batcher, rows(*range(size))) for size in (0, 5, 1)]
    seen = []
    while inner.pending:
        seen += sizes(inner)
        inner.pending[0].resolve()
    assert seen == [0, 5, 1]
    assert values(outcomes[1]) == [0, -1, -2, -3, -4]


def test_a_batch_has_the_highest_priority_of_its_requests(context):
    inner, batcher = manual(context)
    submit(batcher, rows(0))
    submit(batcher, Request(rows(1), priority=2))
    submit(batcher, rows(2))
    assert not isinstance(inner.pending[0].request, Request)
    inner.pending[0].resolve()
    assert inner.pending[0].request.priority == 2


def test_the_time_split_says_how_long_a_request_waited_here(context, clock):
    inner, batcher = manual(context)
    submit(batcher, rows(0))
    clock.advance(1e-6)
    outcomes = [submit(batcher, rows(1)), submit(batcher, rows(2, 3))]
    clock.advance(2e-6)
    inner.pending[0].resolve()
    inner.pending[0].resolve()
    assert [outcome.reply.times.queue_ns for outcome in outcomes] == [2000, 2000]
    assert outcomes[0].reply.times.batch_rows == 3


@given(
    counts=st.lists(st.integers(0, 7), max_size=30),
    max_batch=st.integers(1, 5),
    slots=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
def test_scattering_is_the_inverse_of_gathering(counts, max_batch, slots, order):
    inner, batcher = manual(JobContext(ManualClock(), 2, 4, print), slots=slots, max_batch=max_batch)
    numbers = iter(range(1000))
    requests = [[next(numbers) for _ in range(count)] for count in counts]
    outcomes = []
    for request in requests:
        outcomes.append(submit(batcher, rows(*request)))
        while inner.pending and order.random() < 0.4:
            order.choice(inner.pending).resolve()
    while inner.pending:
        assert len(inner.pending) <= slots
        assert max(sizes(inner)) <= max_batch
        order.choice(inner.pending).resolve()
    assert [values(outcome) for outcome in outcomes] == [[-n for n in request] for request in requests]
    assert all(outcome.times_ended == 1 for outcome in outcomes)


def test_many_threads_at_once_get_each_their_own_rows(context):
    pool = PooledBackend(negated, ROWS, threads=2, name="test", url="test:rows")
    batcher = Batcher(pool, max_batch=4)
    batcher.open(context)
    start = threading.Barrier(4)
    results = {}

    def work(number):
        start.wait(30)
        mine = [submit(batcher, rows(*range(i, i + i % 6))) for i in range(number, 800, 4)]
        results.update({(number, i): values(outcome) for i, outcome in zip(range(number, 800, 4), mine, strict=True)})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    batcher.close()
    assert len(results) == 800
    assert all(found == [-n for n in range(i, i + i % 6)] for (_, i), found in results.items())
