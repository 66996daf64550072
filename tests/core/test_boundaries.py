"""Runs and luminosity blocks with events of several of them in flight."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw import (
    ONE,
    SHARED,
    Analyzer,
    EndPath,
    Event,
    ExitCode,
    ExternalWorkModule,
    Input,
    Job,
    LuminosityBlock,
    Module,
    Output,
    Path,
    Process,
    Producer,
    Run,
)
from evtfw.testing import ListSource, SimulatedRuntime


class _Logged(Module):
    log: ClassVar[list[tuple[Any, ...]]]

    def begin_run(self, run: Run) -> None:
        self.log.append((self.label, id(self), "begin_run", run.number))

    def end_run(self, run: Run) -> None:
        self.log.append((self.label, id(self), "end_run", run.number))

    def begin_lumi(self, lumi: LuminosityBlock) -> None:
        self.log.append((self.label, id(self), "begin_lumi", lumi.id.lumi))

    def end_lumi(self, lumi: LuminosityBlock) -> None:
        self.log.append((self.label, id(self), "end_lumi", lumi.id.lumi))


class PerStream(_Logged, Producer):
    """Logs its transitions and events."""

    def produce(self, event: Event) -> None:
        self.log.append((self.label, id(self), "event", event.lumi.id.lumi))


class ForAll(_Logged, Analyzer):
    """Logs transitions once for all streams; the number of events of a block is a product of the block."""

    concurrency = ONE
    count = Output[int]("events of the block", scope="lumi")

    def begin_job(self) -> None:
        self.counts: Counter[int] = Counter()

    def analyze(self, event: Event) -> None:
        self.counts[event.lumi.id.lumi] += 1
        self.log.append((self.label, id(self), "event", event.lumi.id.lumi))

    def end_lumi(self, lumi: LuminosityBlock) -> None:
        super().end_lumi(lumi)
        lumi[self.count] = self.counts[lumi.id.lumi]


class CountReader(Analyzer):
    """Reads the product of the block when it ends."""

    concurrency = SHARED
    read: ClassVar[dict[int, int]]
    count = Input[int]("events of the block", scope="lumi")

    def analyze(self, event: Event) -> None:
        pass

    def end_lumi(self, lumi: LuminosityBlock) -> None:
        self.read[lumi.id.lumi] = lumi[self.count]


class Slow(ExternalWorkModule):
    """Replies after a time that differs from event to event."""

    runtime: ClassVar[SimulatedRuntime]

    def acquire(self, event: Event, done: Any) -> None:
        self.runtime.clock.call_later(event.id.event * 7919 % 13 * 0.01, lambda: done.resolve(None))

    def produce(self, event: Event, reply: None) -> None:
        pass


def _run(seed: int, events: int, per_lumi: int, streams: int) -> tuple[list[tuple[Any, ...]], dict[int, int], Any]:
    log: list[tuple[Any, ...]] = []
    read: dict[int, int] = {}
    runtime = SimulatedRuntime(seed)
    process = Process("LUMIS")
    process.source = ListSource.of([{} for _ in range(events)], per_lumi)
    process.slow = type("Slow", (Slow,), {"runtime": runtime})()
    process.mine = type("PerStream", (PerStream,), {"log": log})()
    process.ours = type("ForAll", (ForAll,), {"log": log})()
    process.reader = type("CountReader", (CountReader,), {"read": read})(count="ours")
    process.path = Path(process.slow, process.mine, process.ours)
    process.end = EndPath(process.reader)
    process.options.streams = streams
    return log, read, Job(process, runtime=runtime).run()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    events=st.integers(0, 30),
    per_lumi=st.integers(1, 12),
    streams=st.integers(1, 6),
)
def test_events_lie_within_their_transitions(seed: int, events: int, per_lumi: int, streams: int) -> None:
    log, read, result = _run(seed, events, per_lumi, streams)
    lumis = -(-events // per_lumi)
    assert result.error is None
    assert result.statistics["lumis"] == lumis
    assert result.statistics["runs"] == min(1, lumis)
    assert sum(read.values()) == events
    for instance in {entry[:2] for entry in log}:
        inside: list[int] = []
        for what, number in (entry[2:] for entry in log if entry[:2] == instance):
            if what == "begin_lumi":
                inside.append(number)
            elif what == "end_lumi":
                inside.remove(number)
            elif what == "event":
                assert number in inside
        assert not inside
    ours = Counter(entry[2:] for entry in log if entry[0] == "ours")
    for lumi in range(1, lumis + 1):
        assert ours["begin_lumi", lumi] == ours["end_lumi", lumi] == 1
    first_and_last = [entry[2] for entry in log if entry[0] == "ours"]
    assert not events or (first_and_last[0], first_and_last[-1]) == ("begin_run", "end_run")


@pytest.mark.parametrize(
    "transition", ["begin_job", "begin_stream", "begin_run", "begin_lumi", "end_lumi", "end_run", "end_job"]
)
@pytest.mark.parametrize("concurrency", ["stream", "shared"])
def test_error_in_a_transition_ends_the_job_and_names_it(transition: str, concurrency: str) -> None:
    def fail(self: Any, *_: Any) -> None:
        raise OSError("no such calibration")

    process = Process("FAULTY")
    process.source = ListSource.of([{} for _ in range(20)], 5)
    members: dict[str, Any] = {transition: fail, "produce": lambda self, event: None}
    if concurrency == "shared":
        members["concurrency"] = SHARED
    process.faulty = type("Faulty", (Producer,), members)()
    process.path = Path(process.faulty)
    process.options.streams = 3
    process.options.on_error = "continue"
    result = Job(process, runtime=SimulatedRuntime(1)).run()
    assert result.exit_code == ExitCode.MODULE
    assert "'faulty' (Faulty)" in str(result.error)
    assert transition in str(result.error)
    assert "OSError: no such calibration" in str(result.error)
    assert sum(result.fates.values()) == result.events_read
