"""The same laws on real threads: stress without timing assertions, back-pressure, stopping, failures."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from evtfw import (
    ONE,
    Analyzer,
    EndPath,
    Event,
    ExitCode,
    ExternalWorkModule,
    Input,
    Job,
    Output,
    OutputModule,
    Path,
    Process,
    Producer,
)
from evtfw.core.source import Chunk, ColumnInfo, Source
from evtfw.observe.timing import TimingObserver
from evtfw.testing import ListSource


class Work(ExternalWorkModule):
    """Hands completions to threads of the test."""

    work: queue.SimpleQueue[Any]
    value = Output[int]("twice the event number")

    def acquire(self, event: Event, done: Any) -> None:
        self.work.put((event.id.event, done))

    def produce(self, event: Event, reply: int) -> None:
        event[self.value] = reply


class Sum(Analyzer):
    """Adds up, unguarded: one call at a time is the scheduler's promise."""

    concurrency = ONE
    value = Input[int]("value", default="work")

    def begin_job(self) -> None:
        self.total = 0
        self.inside = 0

    def analyze(self, event: Event) -> None:
        self.inside += 1
        if self.inside != 1:
            raise AssertionError("two calls at a time")
        total = self.total
        for _ in range(20):
            total += 0
        self.total = total + event[self.value]
        self.inside -= 1


@pytest.fixture
def fast_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def services() -> Iterator[queue.SimpleQueue[Any]]:
    work: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def serve() -> None:
        while (item := work.get()) is not None:
            number, done = item
            done.resolve(2 * number)
            done.resolve(0)

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield work
    for _ in threads:
        work.put(None)
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("streams", [1, 7])
def test_many_threads_lose_and_repeat_nothing(services: Any, streams: int) -> None:
    events = 3000
    process = Process("THREADS")
    process.source = ListSource.of([{} for _ in range(events)], 100)
    process.work = type("Work", (Work,), {"work": services})()
    process.more = type("More", (Work,), {"work": services, "after": Input[int]("x", default="work")})()
    process.sum = Sum()
    process.sum2 = Sum(value="more")
    process.path = Path(process.work, process.more)
    process.end = EndPath(process.sum, process.sum2)
    process.set_options(threads=4, streams=streams)
    job = Job(process)
    result = job.run()
    assert result.error is None
    assert result.fates["passed"] == result.events_read == events
    assert result.refused_completions == 2 * events
    expected = events * (events + 1)
    assert [job._instances.of[label][0].total for label in ("sum", "sum2")] == [expected, expected]  # type: ignore[attr-defined]
    assert result.statistics["lumis"] == events // 100


def test_bytes_in_flight_are_bounded(services: Any) -> None:
    live: list[int] = []
    in_flight: set[int] = set()

    class Big(Producer):
        array = Output[np.ndarray]("1 MB")

        def produce(self, event: Event) -> None:
            in_flight.add(event.index)
            live.append(len(in_flight))
            event[self.array] = np.zeros(125_000)

    class Done(Analyzer):
        array = Input[np.ndarray]("in", default="big")
        value = Input[int]("value", default="work")

        def analyze(self, event: Event) -> None:
            in_flight.discard(event.index)

    process = Process("BYTES")
    process.source = ListSource.of([{} for _ in range(200)])
    process.big = Big()
    process.work = type("Work", (Work,), {"work": services, "after": Input[Any]("x", default="big")})()
    process.done = Done()
    process.path = Path(process.big, process.work)
    process.end = EndPath(process.done)
    process.set_options(threads=2, streams=20, max_bytes_in_flight=3_000_000)
    result = Job(process).run()
    assert result.fates["passed"] == 200
    assert max(live) <= 3 + 2 + 1  # up to the limit, and one more per thread that started before it was reached


class Endless(Source):
    """Gives events until the job stops asking."""

    def columns(self) -> dict[str, ColumnInfo]:
        return {}

    def chunks(self, columns: Any, first: int, count: int | None) -> Iterator[Chunk]:
        number = 1
        while True:
            ones = np.ones(10, dtype=np.int64)
            yield Chunk(ones, ones, np.arange(number, number + 10), {})
            number += 10


def test_stop_finishes_the_events_in_flight(services: Any) -> None:
    process = Process("STOP")
    process.source = Endless()
    process.work = type("Work", (Work,), {"work": services})()
    seen = []

    class Stop(Analyzer):
        value = Input[int]("value", default="work")

        def analyze(self, event: Event) -> None:
            seen.append(event.index)
            if len(seen) == 50:
                job.stop("SIGTERM")

    process.stop = Stop()
    process.path = Path(process.work)
    process.end = EndPath(process.stop)
    process.set_options(threads=2, streams=5)
    job = Job(process)
    result = job.run()
    assert result.exit_code == ExitCode.TERMINATED
    assert result.stopped_by == "SIGTERM"
    assert sorted(seen) == list(range(result.events_read))
    assert result.fates["passed"] == result.events_read


def test_failing_module_ends_the_job_and_accounts_for_every_event(services: Any) -> None:
    process = Process("FAIL")
    process.source = Endless()
    process.work = type("Work", (Work,), {"work": services})()

    class Fail(Analyzer):
        value = Input[int]("value", default="work")

        def analyze(self, event: Event) -> None:
            if event.index == 30:
                raise RuntimeError("event 30 is bad")

    process.fail = Fail()
    process.path = Path(process.work)
    process.end = EndPath(process.fail)
    process.set_options(threads=3, streams=6)
    result = Job(process).run()
    assert result.exit_code == ExitCode.MODULE
    assert "'fail' (Fail) failed in analyze, event 1:1:31: RuntimeError: event 30 is bad" in str(result.error)
    assert sum(result.fates.values()) == result.events_read
    assert result.fates["failed"] == 1


def test_error_in_the_source_ends_the_job() -> None:
    class Broken(Endless):
        def chunks(self, columns: Any, first: int, count: int | None) -> Iterator[Chunk]:
            yield next(super().chunks(columns, first, count))
            raise OSError("disk gone")

    process = Process("SOURCE")
    process.source = Broken()
    process.look = type("Look", (Analyzer,), {"analyze": lambda self, event: None})()
    process.end = EndPath(process.look)
    result = Job(process).run()
    assert result.exit_code == ExitCode.INPUT
    assert "OSError: disk gone" in str(result.error)
    assert sum(result.fates.values()) == result.events_read


def test_blocked_workers_are_replaced() -> None:
    """Eight events that wait for each other in a module: only with eight workers can the job end."""
    barrier = threading.Barrier(8)
    process = Process("BLOCKED")
    process.source = ListSource.of([{} for _ in range(8)])

    class Wait(Analyzer):
        def analyze(self, event: Event) -> None:
            barrier.wait(60)

    process.wait = Wait()
    process.end = EndPath(process.wait)
    process.set_options(threads=8, streams=8)
    result = Job(process).run()
    assert result.error is None
    assert result.statistics["active_threads"] == 8


@pytest.mark.parametrize("is_observed", [False, True])
def test_outputs_see_each_event_once_also_when_the_job_fails(is_observed: bool) -> None:
    """Within a block of many short events, those behind the failing one are skipped under their own numbers."""
    seen: list[int] = []

    class Keep(OutputModule):
        def write(self, event: Event) -> bool:
            seen.append(event.index)
            return True

        def skip(self, event: Event) -> None:
            seen.append(event.index)

    class Fail(Producer):
        def produce(self, event: Event) -> None:
            if event.index == 3000:
                raise RuntimeError("bad")

    process = Process("ONCE")
    process.source = ListSource.of([{} for _ in range(20_000)], 20_000)
    process.fail = Fail()
    process.keep = Keep()
    process.path = Path(process.fail)
    process.end = EndPath(process.keep)
    process.set_options(threads=1, streams=1)
    result = Job(process, [TimingObserver()] if is_observed else []).run()
    assert result.exit_code == ExitCode.MODULE
    assert sorted(seen) == list(range(result.events_read))
    assert sum(result.fates.values()) == result.events_read
