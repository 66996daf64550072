from __future__ import annotations

import gc

import numpy as np
import pytest

from evtfw.core.errors import (
    BadReply,
    Cancelled,
    CompletionDropped,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.external.batcher import Batcher
from evtfw.external.mock import MockBackend
from tests.external.batching import manual, negated, values
from tests.external.conftest import ROWS, rows, submit


def test_a_poisonous_request_does_not_harm_the_others(context):
    def picky(inputs):
        if (inputs["x"] == 13).any():
            raise ExternalError("thirteen")
        return negated(inputs)

    inner = MockBackend(picky, description=ROWS, manual=True)
    batcher = Batcher(inner)
    batcher.open(context)
    outcomes = [submit(batcher, rows(i)) for i in (0, 12, 13, 14)]
    while inner.pending:
        inner.pending[0].resolve()
    assert [values(outcomes[i]) for i in (0, 1, 3)] == [[0], [-12], [-14]]
    assert str(outcomes[2].error) == "thirteen"
    assert batcher.statistics.isolated == 3


@pytest.mark.parametrize("error", [ServerUnavailable("x"), DeadlineExceeded("x"), Cancelled("x")])
def test_when_the_server_is_at_fault_nothing_is_sent_again(context, error):
    inner, batcher = manual(context)
    outcomes = [submit(batcher, rows(i)) for i in range(3)]
    inner.pending[0].resolve()
    inner.pending[0].fail(error)
    assert inner.pending == []
    assert [outcome.error for outcome in outcomes[1:]] == [error, error]


def test_isolation_can_be_switched_off(context):
    inner, batcher = manual(context, isolate=False)
    outcomes = [submit(batcher, rows(i)) for i in range(3)]
    inner.pending[0].resolve()
    inner.pending[0].fail(ExternalError("x"))
    assert all(isinstance(outcome.error, ExternalError) for outcome in outcomes[1:])


def test_a_dropped_batch_fails_and_frees_its_slot(context):
    inner, batcher = manual(context)
    outcome, waiting = submit(batcher, rows(1), name="toptag in 1:2:3"), submit(batcher, rows(2))
    inner.pending[0].drop()
    gc.collect()
    assert isinstance(outcome.error, CompletionDropped)
    assert "toptag in 1:2:3" in str(outcome.error)
    inner.pending[0].resolve()
    assert values(waiting) == [-2]


@pytest.mark.parametrize(
    "outputs",
    [{"y": np.zeros((1, 1), np.float32)}, {"y": np.zeros((2, 1))}, {"z": np.zeros((2, 1), np.float32)}, {}],
)
def test_a_wrong_reply_fails_and_names_what_is_wrong(context, outputs):
    inner, batcher = manual(context, isolate=False)
    outcomes = [submit(batcher, rows(i)) for i in range(3)]
    inner.pending[0].resolve()
    inner.pending[0].resolve(outputs)
    assert all(isinstance(outcome.error, BadReply) for outcome in outcomes[1:])


def test_nan_is_judged_per_request(context):
    nan = float("nan")
    for policy, failed, flagged in (("fail", True, ()), ("flag", False, ("y",)), ("pass", False, ())):
        inner, batcher = manual(context, nonfinite=policy)
        outcomes = [submit(batcher, rows(*value)) for value in ((0,), (1, nan), (2, 2))]
        inner.pending[0].resolve()
        inner.pending[0].resolve()
        assert isinstance(outcomes[1].error, BadReply) is failed
        if not failed:
            assert outcomes[1].reply.nonfinite == flagged
        assert values(outcomes[2]) == [-2, -2]
        assert outcomes[2].reply.nonfinite == ()
        assert batcher.statistics.nonfinite_replies == (policy != "pass")


def test_an_inner_backend_that_answers_at_once_does_not_recurse(context):
    inner, batcher = manual(context, max_batch=1)
    outcomes = [submit(batcher, rows(i)) for i in range(3000)]
    inner._manual = False
    inner.pending[0].resolve()
    assert values(outcomes[-1]) == [-2999]


def test_an_inner_backend_that_raises_fails_the_request(context):
    class Faulty(MockBackend):
        def submit(self, request, done):
            raise RuntimeError("a mistake")

    batcher = Batcher(Faulty(description=ROWS))
    batcher.open(context)
    for _ in range(2):
        assert isinstance(submit(batcher, rows(1)).error, RuntimeError)


def test_an_inner_backend_that_answers_nonsense_fails_the_request(context):
    inner, batcher = manual(context)
    outcome = submit(batcher, rows(1))
    inner.pending[0]._done.resolve("nonsense")
    assert isinstance(outcome.error, AttributeError)


def test_closing_fails_all_that_waits_and_closes_the_inner_backend(context, clock):
    inner, batcher = manual(context, max_delay_s=1)
    outcomes = [submit(batcher, rows(i)) for i in range(3)]
    batcher.close()
    assert all(isinstance(outcome.error, ExternalError) for outcome in outcomes)
    assert "is not open" in str(submit(batcher, rows(1)).error)
    clock.advance(2)
    batcher.open(context)
    again = submit(batcher, rows(5))
    inner.pending[0].resolve()
    assert values(again) == [-5]
