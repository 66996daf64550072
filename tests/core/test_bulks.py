"""Modules that take several events at once: what they get, and what happens when they fail."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw import (
    BulkProducer,
    EndPath,
    Event,
    ExitCode,
    ExternalWorkModule,
    Filter,
    Input,
    Job,
    Output,
    Path,
    Process,
    Producer,
)
from evtfw.core.observer import Observer
from evtfw.core.plan import takes_bulks
from evtfw.testing import ListSource, SimulatedRuntime, run_module
from tests.core.random_jobs import Recorder, World


class Square(BulkProducer):
    """Squares a column, and notes the bulks that it got."""

    bulks: list[list[int]]
    number = Input[int]("a column", default="source:x")
    value = Output[int]("its square")

    def produce_bulk(self, events: Sequence[Event]) -> None:
        self.bulks.append([event[self.number] for event in events])
        for event in events:
            if event[self.number] < 0:
                raise ValueError("negative")
            event[self.value] = event[self.number] ** 2


class Even(Filter):
    """Passes even squares."""

    value = Input[int]("a number", default="square")

    def filter(self, event: Event) -> bool:
        return event[self.value] % 2 == 0


class Later(ExternalWorkModule):
    """A service that answers after a while."""

    runtime: SimulatedRuntime
    value = Input[int]("a number", default="square")
    reply = Output[int]("one more")

    def acquire(self, event: Event, done: Any) -> None:
        value = event[self.value]
        self.runtime.clock.call_later(1e-3 * (value % 7), lambda: done.resolve(value + 1))

    def produce(self, event: Event, reply: int) -> None:
        event[self.reply] = reply


def job_of(numbers: Sequence[int], *, bulk: int, streams: int = 3, per_lumi: int = 100, **options: Any) -> Any:
    """A job with bulks before and after a filter and before a service; returns it with its bulks and its world."""
    runtime = SimulatedRuntime(1)
    world = World(runtime, 0)
    bulks: dict[str, list[list[int]]] = {"square": [], "again": []}
    process = Process("BULKS")
    process.source = ListSource.of([{"x": x} for x in numbers], per_lumi)
    process.square = type("Square", (Square,), {"bulks": bulks["square"]})()
    process.even = Even()
    process.again = type("Square", (Square,), {"bulks": bulks["again"]})(number="square")
    process.later = type("Later", (Later,), {"runtime": runtime})(value="again")
    process.path = Path(process.square, process.even, process.again, process.later)
    process.recorder = type("Recorder", (Recorder,), {"world": world})(products=["square", "again", "later"])
    process.end = EndPath(process.recorder)
    process.set_options(bulk_events=bulk, streams=streams, **options)
    return process, runtime, bulks, world


def records_of(world: World) -> dict[int, tuple[Any, ...]]:
    return {index: tuple(found.values()) for index, (found, _, _) in world.records.items()}


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 8), st.integers(1, 5), st.integers(1, 9))
def test_who_comes_together_does_not_matter(numbers: list[int], bulk: int, streams: int, per_lumi: int) -> None:
    process, runtime, bulks, world = job_of(numbers, bulk=bulk, streams=streams, per_lumi=per_lumi)
    result = Job(process, runtime=runtime).run()
    assert result.exit_code == ExitCode.OK
    assert records_of(world) == {
        index: (x * x, x**4, x**4 + 1) if x % 2 == 0 else (x * x, None, None) for index, x in enumerate(numbers)
    }
    assert sorted(itertools.chain(*bulks["square"])) == sorted(numbers)
    assert sorted(itertools.chain(*bulks["again"])) == sorted(x * x for x in numbers if x % 2 == 0)
    assert max(map(len, bulks["square"])) <= bulk


def test_bulks_are_as_large_as_asked_for() -> None:
    process, runtime, bulks, _ = job_of(range(10), bulk=4)
    Job(process, runtime=runtime).run()
    assert list(map(len, bulks["square"])) == [4, 4, 2]
    assert bulks["again"] == [[0, 4], [16, 36], [64]]


@pytest.mark.parametrize("option", [{"bulk": 1}, {"bulk": 4, "max_bytes_in_flight": 10**9}])
def test_events_come_one_by_one_if_asked_for(option: dict[str, Any]) -> None:
    process, runtime, bulks, world = job_of(range(10), **option)
    Job(process, runtime=runtime).run()
    assert set(map(len, bulks["square"])) == {1}
    assert len(world.records) == 10


def test_only_those_fail_that_must() -> None:
    process, runtime, bulks, world = job_of([2, -1, 4, 6], bulk=4, on_error="continue")
    result = Job(process, runtime=runtime).run()
    assert bulks["square"] == [[2, -1, 4, 6], [2], [-1], [4], [6]]
    assert records_of(world) == {0: (4, 16, 17), 1: (None, None, None), 2: (16, 256, 257), 3: (36, 1296, 1297)}
    assert [str(f.error) for f in result.failures] == [
        "module 'square' (Square) failed in produce, event 1:1:2: ValueError: negative"
    ]
    assert result.fates["failed"] == 1


def test_nobody_gets_an_empty_bulk() -> None:
    process, runtime, bulks, _ = job_of([-1, -2, -3], bulk=3, on_error="continue")
    process.next = type("Square", (Square,), {"bulks": bulks["again"]})(number="square")
    process.path = Path(process.square, process.next)
    process.recorder = process.recorder.clone(products=["square", "next"])
    process.end = EndPath(process.recorder)
    for label in ("again", "later", "even"):
        delattr(process, label)
    result = Job(process, runtime=runtime).run()
    assert result.fates["failed"] == 3
    assert bulks["again"] == []


def test_an_error_ends_the_job_at_its_event() -> None:
    process, runtime, _, world = job_of([2, 4, -1, 6, 8, 10], bulk=3, streams=1)
    result = Job(process, runtime=runtime).run()
    assert result.exit_code == ExitCode.MODULE
    assert "event 1:1:3" in str(result.error)
    assert sorted(world.records) == [0, 1]
    assert sum(result.fates.values()) == result.events_read


def test_what_is_read_and_put_is_checked_in_bulks_too() -> None:
    class Sneaky(Square):
        bulks: list[list[int]] = []

        def produce_bulk(self, events: Sequence[Event]) -> None:
            for event in events:
                event[self.number] = 1

    process, runtime, *_ = job_of([1, 2], bulk=2, check_products=True)
    process.square = Sneaky()
    result = Job(process, runtime=runtime).run()
    assert "puts product 'source:x', which it does not declare as an Output" in str(result.error)


def test_a_job_of_bulks_alone_ends() -> None:
    process = Process("ALONE")
    process.source = ListSource.of([{"x": x} for x in range(9)])
    process.square = type("Square", (Square,), {"bulks": []})()
    process.path = Path(process.square)
    process.set_options(bulk_events=4)
    result = Job(process, runtime=SimulatedRuntime()).run()
    assert result.fates["passed"] == 9


def test_a_subclass_that_treats_single_events_gets_single_events() -> None:
    class Single(Square):
        def produce(self, event: Event) -> None:
            event[self.value] = -1

    assert takes_bulks(Square)
    assert not takes_bulks(Single)
    assert not takes_bulks(Producer)


def test_after_a_service_events_come_one_by_one() -> None:
    process, runtime, bulks, world = job_of(range(0, 20, 2), bulk=5)
    process.again = process.again.clone(number="later")
    process.later = process.later.clone(value="square")
    Job(process, runtime=runtime).run()
    assert set(map(len, bulks["again"])) == {1}
    assert len(world.records) == 10


def test_a_test_of_the_module_gives_all_events_at_once() -> None:
    bulks: list[list[int]] = []
    module = type("Square", (Square,), {"bulks": bulks})()
    assert run_module(module, {"number": list(range(12))}, events=12) == {"value": [x * x for x in range(12)]}
    assert bulks == [list(range(12))]


def test_begin_lumi_comes_before_its_bulks() -> None:
    order: list[tuple[str, int]] = []

    class Ordered(Square):
        bulks: list[list[int]] = []

        def begin_lumi(self, lumi: Any) -> None:
            order.append(("begin", lumi.id.lumi))

        def produce_bulk(self, events: Sequence[Event]) -> None:
            super().produce_bulk(events)
            order.append(("bulk", events[0].lumi.id.lumi))

        def end_lumi(self, lumi: Any) -> None:
            order.append(("end", lumi.id.lumi))

    process, runtime, *_ = job_of(range(12), bulk=4, streams=1, per_lumi=6)
    process.square = Ordered()
    Job(process, runtime=runtime).run()
    assert order == [
        ("begin", 1), ("bulk", 1), ("bulk", 1), ("end", 1), ("begin", 2), ("bulk", 2), ("bulk", 2), ("end", 2)
    ]  # fmt: skip


class _Bulks(Observer):
    wants_modules = True

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def bulk_ran(self, stream: int, segment: int, events: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        self.seen.append((segment, events, len(stamps_ns)))


def test_observers_are_told_of_bulks() -> None:
    process, runtime, *_ = job_of(range(10), bulk=5)
    observer = _Bulks()
    job = Job(process, [observer], runtime=runtime)
    job.run()
    first, second = sorted({segment for segment, _, _ in observer.seen})
    lengths = {segment: len(job.info.segments[segment]) + 1 for segment in (first, second)}
    sizes = [(first, 5), (second, 3), (first, 5), (second, 2)]
    assert observer.seen == [(segment, events, lengths[segment]) for segment, events in sizes]


@pytest.mark.parametrize("bulk", [0, 7])
def test_many_threads_and_streams(bulk: int) -> None:
    lock = threading.Lock()
    seen: list[int] = []

    class Count(Producer):
        value = Input[int]("value", default="square")

        def produce(self, event: Event) -> None:
            with lock:
                seen.append(event[self.value])

    process = Process("THREADS")
    process.source = ListSource.of([{"x": x} for x in range(5000)], 700)
    process.square = type("Square", (Square,), {"bulks": []})()
    process.count = Count()
    process.path = Path(process.square, process.count)
    process.set_options(bulk_events=bulk, threads=8, streams=13)
    result = Job(process).run()
    assert result.fates["passed"] == 5000
    assert sorted(seen) == [x * x for x in range(5000)]
