"""Runs a small job on a backend under faults, and keeps what became of each event."""

from __future__ import annotations

import collections
import dataclasses
import threading
from typing import Any

import numpy as np

from evtfw import (
    EndPath,
    ExternalWorkModule,
    Filter,
    Input,
    Job,
    JobResult,
    Observer,
    Output,
    OutputModule,
    Parameter,
    Path,
    Process,
)
from evtfw.external.contract import Backend
from evtfw.testing import ListSource

EVENTS = 24


class Ask(ExternalWorkModule):
    """Sends ``x`` to the backend and puts ``y``; keeps who answered."""

    backend = Parameter[Backend]("asked")
    x = Input[object]("float32 [n, 4]", default="source:x")
    y = Output[object]("float32 [n, 4]")
    reply = Output[object]("as it came")

    def acquire(self, event, done):
        self.backend.submit({"x": event[self.x]}, done)

    def produce(self, event, reply):
        event[self.y] = reply["y"].copy()
        event[self.reply] = reply


class NotEverySixth(Filter):
    """Rejects the events 6, 12, …, so that a job has filtered events, too; after the answer is there."""

    y = Input[object]("waited for", default="ask:y")

    def filter(self, event):
        return event.id.event % 6 != 0


class Recorder(OutputModule):
    """Keeps products by event number, and how often it was told of each event."""

    y = Input[object]("kept", default="ask:y", optional=True)
    reply = Input[object]("kept", default="ask:reply", optional=True)
    calls: Any = None

    def write(self, event):
        number = event.id.event
        with self.calls.lock:
            self.calls.count[event.index] += 1
            if not event[self.trigger_results]["path"]:
                return False
            self.calls.values[number] = event[self.y]
            self.calls.replies[number] = event[self.reply]
        return True

    def skip(self, event):
        with self.calls.lock:
            self.calls.count[event.index] += 1


@dataclasses.dataclass
class Calls:
    """What a recorder was told."""

    lock: Any = dataclasses.field(default_factory=threading.Lock)
    count: Any = dataclasses.field(default_factory=collections.Counter)
    values: dict[int, Any] = dataclasses.field(default_factory=dict)
    replies: dict[int, Any] = dataclasses.field(default_factory=dict)


class Fates(Observer):
    """Keeps the fate of each event."""

    wants_events = True

    def __init__(self):
        self.of = collections.defaultdict(list)

    def event_ended(self, stream, event, time_ns, fate):
        self.of[event.event].append(fate)


@dataclasses.dataclass
class Outcome:
    """A job that ended.

    Attributes:
        values: ``y`` by event number, of the events written.
        replies: the `Reply` of these.
        fates: by event number.
        said: lines for the user.
    """

    result: JobResult
    values: dict[int, Any]
    replies: dict[int, Any]
    fates: dict[int, str]
    said: list[str]

    @property
    def errors(self):
        """Messages of all failures."""
        return [str(failure.error) for failure in self.result.failures]

    def events(self, fate):
        """Numbers of the events with this fate."""
        return {number for number, its in self.fates.items() if its == fate}


def inputs(events=EVENTS, large=0):
    """``x`` of each event: one to three rows of numbers that no other event has; 60 rows in event number ``large``."""
    generator = np.random.default_rng(33)
    rows = [60 if number + 1 == large else 1 + number % 3 for number in range(events)]
    return [generator.normal(size=(n, 4)).astype(np.float32) for n in rows]


def make_process(backend, *, events=EVENTS, large=0, timeout_s=5.0, on_error="continue", streams=4, threads=2):
    """A job that asks the backend for each event, rejects every sixth and records the others."""
    process = Process("FAULTS")
    process.source = ListSource.of([{"x": x} for x in inputs(events, large)])
    process.ask = Ask(backend=backend, timeout_s=timeout_s)
    process.cut = NotEverySixth()
    process.path = Path(process.ask, process.cut)
    process.recorder = type("Recorder", (Recorder,), {"calls": Calls()})()
    process.end = EndPath(process.recorder)
    process.set_options(on_error=on_error, streams=streams, threads=threads)
    return process


def run_job(backend, *, events=EVENTS, large=0, is_spoiled=False, **options):
    """Run it, check that the accounts are exact, and (unless it is to be spoiled) that no wrong value was written."""
    process = make_process(backend, events=events, large=large, **options)
    said, fates = [], Fates()
    result = Job(process, [fates], say=said.append).run()
    calls = type(process.recorder).calls
    outcome = Outcome(result, calls.values, calls.replies, {n: f for n, [f] in fates.of.items()}, said)
    check_accounts(outcome, calls)
    if not is_spoiled:
        check_values(outcome, expected(events, large))
    return outcome


def check_accounts(outcome, calls):
    """Invariant A: each event that was read ended exactly once, and the report's sums say so."""
    result = outcome.result
    assert sum(result.fates.values()) == result.events_read
    assert len(outcome.fates) + result.fates["unprocessed"] == result.events_read
    counted = collections.Counter(outcome.fates.values())
    assert {fate: n for fate, n in result.fates.items() if n and fate != "unprocessed"} == counted
    assert calls.count == dict.fromkeys(range(len(calls.count)), 1)
    assert outcome.events("written") == set(outcome.values)
    assert result.failures_count >= len(result.failures)
    failed = {failure.event.event for failure in result.failures if failure.event is not None}
    if result.failures_count == len(result.failures):
        assert outcome.events("failed") == failed
    path = result.paths["path"]
    assert (path.accepted, path.rejected, path.failed) == tuple(
        result.fates[fate] for fate in ("written", "filtered", "failed")
    )


def check_values(outcome, undisturbed):
    """Invariant C: what was written is what the undisturbed run writes."""
    for number, value in outcome.values.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, undisturbed[number]), f"event {number}"


def expected(events=EVENTS, large=0):
    """``y`` by event number in a run without faults."""
    return {number: 2 * x for number, x in enumerate(inputs(events, large), 1) if number % 6}


def check_undisturbed(outcome, events=EVENTS):
    """The job went as if nothing had happened."""
    assert outcome.result.error is None
    assert outcome.result.exit_code == 0
    assert outcome.errors == []
    assert set(outcome.values) == set(expected(events))
    assert outcome.result.fates["written"] + outcome.result.fates["filtered"] == events
