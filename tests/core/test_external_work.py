"""The completion contract: exactly once, dropped fails, deadlines, cancellation, late replies."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evtfw import Completion, Event, ExternalWorkModule, Job, JobResult, Output, Path, Process, Producer
from evtfw.core.errors import Cancelled, CompletionDropped, DeadlineExceeded
from evtfw.modules import TopTagger
from evtfw.testing import ListSource, SimulatedRuntime, run_module

Acquire = Callable[[Any, Event, Completion], None]


class Work(ExternalWorkModule):
    """Does with the completion what the test says."""

    value = Output[int]("reply")

    def produce(self, event: Event, reply: int) -> None:
        event[self.value] = reply


def run(
    acquire: Acquire,
    *,
    events: int = 3,
    on_error: str = "continue",
    timeout_s: float = 1.0,
    streams: int = 1,
    also: Any = None,
) -> tuple[JobResult, SimulatedRuntime]:
    runtime = SimulatedRuntime(0)
    process = Process("EXTERNAL")
    process.source = ListSource.of([{} for _ in range(events)])
    process.work = type("Work", (Work,), {"acquire": acquire, "clock": runtime.clock})(timeout_s=timeout_s)
    process.path = Path(process.work)
    if also is not None:
        process.also = also
        process.other = Path(process.also)
    process.set_options(on_error=on_error, streams=streams)
    return Job(process, runtime=runtime).run(), runtime


def test_reply_reaches_produce() -> None:
    result, _ = run(lambda self, event, done: done.resolve(7))
    assert result.fates["passed"] == 3
    assert result.refused_completions == 0


def test_second_resolution_is_refused_and_counted() -> None:
    answers = []

    def acquire(self: Any, event: Event, done: Completion) -> None:
        answers.append((done.resolve(1), done.resolve(2), done.fail(ValueError("late"))))

    result, _ = run(acquire)
    assert answers == [(True, False, False)] * 3
    assert result.refused_completions == 6
    assert result.fates["passed"] == 3


def test_dropped_completion_fails_and_names_module_and_event() -> None:
    result, _ = run(lambda self, event, done: gc.collect())
    assert result.fates["failed"] == 3
    assert {type(f.error) for f in result.failures} == {CompletionDropped}
    assert "module 'work'" in str(result.failures[0].error)
    assert "1:1:1" in str(result.failures[0].error)


def test_unresolved_completion_meets_its_deadline() -> None:
    kept = []
    result, runtime = run(lambda self, event, done: kept.append(done), timeout_s=2.5)
    assert {type(f.error) for f in result.failures} == {DeadlineExceeded}
    assert "2.5 s" in str(result.failures[0].error)
    assert runtime.clock.now_ns() == pytest.approx(7.5e9)
    assert not any(done.resolve(1) for done in kept)


def test_late_reply_does_not_reach_the_next_event() -> None:
    def acquire(self: Any, event: Event, done: Completion) -> None:
        delay_s = 1.5 if event.id.event == 1 else 0.9
        self.clock.call_later(delay_s, lambda: done.resolve(event.id.event))

    result, _ = run(acquire, events=4)
    assert result.fates == {"written": 0, "passed": 3, "filtered": 0, "failed": 1, "unprocessed": 0}
    assert result.refused_completions == 1


def test_deadline_cancels_the_work_in_flight() -> None:
    cancelled = []

    class Request:
        def cancel(self) -> None:
            cancelled.append(self)

    requests = []

    def acquire(self: Any, event: Event, done: Completion) -> None:
        requests.append((Request(), done))
        done.on_cancel(requests[-1][0])

    run(acquire, events=2)
    assert cancelled == [request for request, _ in requests]


def test_failure_elsewhere_cancels_the_request_of_an_abandoned_event() -> None:
    class Faulty(Producer):
        def produce(self, event: Event) -> None:
            raise ValueError("broken")

    outcome = []

    class Request:
        def cancel(self) -> None:
            outcome.append("cancelled")

    kept = []

    def acquire(self: Any, event: Event, done: Completion) -> None:
        kept.append((Request(), done))
        done.on_cancel(kept[-1][0])

    result, runtime = run(acquire, on_error="rethrow", also=Faulty())
    assert outcome == ["cancelled"]
    assert "ValueError: broken" in str(result.error)
    assert runtime.clock.now_ns() < 1e9  # nobody waited for the deadline
    assert result.fates["failed"] == 1


@pytest.mark.parametrize("stage", ["before", "after"])
def test_error_in_acquire(stage: str) -> None:
    kept = []

    def acquire(self: Any, event: Event, done: Completion) -> None:
        if stage == "after":
            done.resolve(1)
        else:
            kept.append(done)
        raise OSError("socket closed")

    result, _ = run(acquire)
    assert result.fates["failed"] == 3
    assert "failed in acquire, event 1:1:1: OSError: socket closed" in str(result.failures[0].error)


def test_cancelled_is_an_external_error() -> None:
    assert Cancelled.exit_code == DeadlineExceeded.exit_code


def test_an_event_that_hangs_bounds_how_far_others_run_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evtfw.core.feed.RUN_AHEAD_EVENTS", 50)
    ahead = []

    def acquire(self: Any, event: Event, done: Completion) -> None:
        ahead.append((self.clock.now_ns(), event.index))
        self.clock.call_later(0.9 if event.index == 0 else 1e-3, lambda: done.resolve(0))

    result, _ = run(acquire, events=300, streams=4)
    assert result.fates["passed"] == 300
    assert max(index for time_ns, index in ahead if time_ns < 0.9e9) in range(45, 51)


def test_run_module_waits_for_a_backend_with_real_threads() -> None:
    images = np.zeros((2, 64, 64, 1), np.float32)
    assert run_module(TopTagger(), {"images": images})["scores"].shape == (2,)
