"""Rows 14, 16, 17, 33: what a backend does with completions and numbers, through the scheduler."""

import functools
import threading

import numpy as np
import pytest

from evtfw import CallbackCompletion
from evtfw.core.errors import BadReply, CompletionDropped, DeadlineExceeded, ExternalError
from evtfw.external.batcher import Batcher
from evtfw.external.contract import Provenance, Reply, inputs_of
from evtfw.external.mock import MockBackend
from evtfw.external.pool import PooledBackend
from tests.faults.conftest import DOUBLE, double
from tests.faults.jobs import EVENTS, check_undisturbed, inputs, run_job

BAD = 3
"""The request, counted from 1, that a fault strikes; its event is found by its values."""


class Fault(MockBackend):
    """Doubles, but does with the completion of one request what ``strike(backend, request, done)`` does."""

    def __init__(self, strike, at=(BAD,)):
        super().__init__(double, description=DOUBLE)
        self._strike, self._at = strike, at
        self._count = 0
        self._lock = threading.Lock()

    def submit(self, request, done):
        with self._lock:
            self._count += 1
            is_struck = self._count in self._at
        if is_struck:
            self._strike(self, request, done)
        else:
            super().submit(request, done)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_row_14_not_a_number_fails_its_event_and_no_other(number):
    strike = _answering(lambda y: np.where(np.arange(y.size).reshape(y.shape) == 0, number, y).astype(np.float32))
    backend = Batcher(Fault(strike), nonfinite="fail")
    outcome = run_job(backend)
    assert outcome.result.fates["failed"] == 1
    assert "NaN or infinity in y" in outcome.errors[0]
    assert isinstance(outcome.result.failures[0].error, BadReply)
    assert backend.statistics.nonfinite_replies == 1


@pytest.mark.parametrize("policy", ["flag", "pass"])
def test_row_14_not_a_number_is_flagged_or_passed_as_asked(policy):
    strike = _answering(lambda y: np.full_like(y, np.nan))
    backend = Batcher(Fault(strike, at=range(1, EVENTS + 1)), nonfinite=policy)
    outcome = run_job(backend, is_spoiled=True)
    assert outcome.result.fates["written"] == 20
    flags = {reply.nonfinite for reply in outcome.replies.values()}
    assert flags == ({("y",)} if policy == "flag" else {()})
    assert backend.statistics.nonfinite_replies == (EVENTS if policy == "flag" else 0)


def test_row_16_a_second_outcome_is_refused_and_counted():
    answers = []

    def twice(backend, request, done):
        good = backend.reply_to(inputs_of(request))
        bad = Reply({"y": np.zeros((1, 4), np.float32)}, Provenance("mock:"))
        answers.extend([done.resolve(good), done.resolve(bad), done.fail(ExternalError("late"))])

    outcome = run_job(Fault(twice))
    check_undisturbed(outcome)
    assert answers == [True, False, False]
    assert outcome.result.refused_completions == 2


def test_row_16_from_many_threads_at_once_one_outcome_counts():
    def race(backend, request, done):
        reply, start = backend.reply_to(inputs_of(request)), threading.Barrier(4)

        def answer():
            start.wait(10)
            done.resolve(reply)

        threads = [threading.Thread(target=answer) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    outcome = run_job(Fault(race, at=range(1, EVENTS + 1)))
    check_undisturbed(outcome)
    assert outcome.result.refused_completions == 3 * EVENTS


def test_row_17_never_resolved_meets_the_deadline():
    kept = []
    outcome = run_job(Fault(lambda backend, request, done: kept.append(done)), timeout_s=0.3)
    assert outcome.result.fates["failed"] == 1
    assert "no reply to 'ask' within 0.3 s" in outcome.errors[0]
    assert isinstance(outcome.result.failures[0].error, DeadlineExceeded)
    [event] = outcome.events("failed")
    assert f"event 1:{(event - 1) // 10 + 1}:{event}" in outcome.errors[0]
    assert not kept[0].resolve("late")


@pytest.mark.parametrize("on_error", ["continue", "rethrow"])
def test_row_17_a_dropped_completion_names_module_and_event(on_error):
    outcome = run_job(Fault(lambda backend, request, done: None), on_error=on_error)
    assert outcome.result.fates["failed"] == 1
    assert isinstance(outcome.result.failures[0].error, CompletionDropped)
    [event] = outcome.events("failed")
    where = f"event 1:{(event - 1) // 10 + 1}:{event}"
    assert f"module 'ask' (Ask) failed in produce, {where}" in outcome.errors[0]
    assert "let go of the completion" in outcome.errors[0]
    assert outcome.result.exit_code == (0 if on_error == "continue" else 50)


def test_row_33_an_exception_in_a_function_of_a_pool_reaches_the_event():
    numbers = iter(range(1, 1000))

    def broken(inputs):
        if next(numbers) == BAD:
            raise ZeroDivisionError("in the transport's thread")
        return double(inputs)

    backend = PooledBackend(broken, DOUBLE, threads=1, name="pool", url="pool:")
    outcome = run_job(backend)
    assert outcome.result.fates["failed"] == 1
    assert "ZeroDivisionError: in the transport's thread" in outcome.errors[0]


def test_row_33_an_exception_in_a_callback_is_told_and_fails_the_event(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))

    class Composed(MockBackend):
        inner = PooledBackend(double, DOUBLE, threads=1, name="pool", url="pool:")

        def open(self, context):
            self.inner.open(context)

        def close(self):
            self.inner.close()

        def submit(self, request, done):
            self.inner.submit(request, CallbackCompletion(functools.partial(self.ended, done), parent=done))

        def ended(self, done, reply, error):
            if reply["y"].flat[0] == 2 * inputs()[BAD - 1].flat[0]:
                raise ZeroDivisionError("in the transport's thread")
            done.resolve(reply)

    outcome = run_job(Composed(description=DOUBLE), timeout_s=1)
    assert told == ["in the transport's thread"]
    assert outcome.events("failed") == {BAD}
    assert isinstance(outcome.result.failures[0].error, ExternalError)


def _answering(change):
    def strike(backend, request, done):
        reply = backend.reply_to(inputs_of(request))
        done.resolve(Reply({"y": change(reply["y"])}, reply.provenance))

    return strike
