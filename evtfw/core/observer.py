"""Observers are told what a job does; they change nothing, and a faulty one is switched off, never the job."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from evtfw.core.event import EventId

Fate = Literal["written", "passed", "filtered", "failed", "unprocessed"]
"""How an event ended: kept by an output; processed to the end in a job where no output could take it; wanted by no
output or path; failed in a module; or read but not processed because the job stopped."""
Phase = Literal["source", "event", "acquire", "produce", "results"]


@dataclasses.dataclass(frozen=True, slots=True)
class NodeInfo:
    """One step of the plan: a module, or one half of an external-work module.

    Args:
        index: position in `JobInfo.nodes`.
        label: the module's label; ``source`` and ``TriggerResults`` for the framework's own steps.
        type: class name of the module.
        kind: module kind, e.g. ``producer``.
        phase: ``event`` for ordinary modules, ``acquire`` and ``produce`` for external work.
        segment, position: which segment it belongs to, and its place therein.
        needs: indices of the nodes whose products or decisions it waits for.
    """

    index: int
    label: str
    type: str
    kind: str
    phase: Phase
    segment: int
    position: int
    needs: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class JobInfo:
    """What an observer can know before the first event."""

    process: str
    nodes: tuple[NodeInfo, ...]
    segments: tuple[tuple[int, ...], ...]
    """Indices of the nodes of each segment, in the order they run."""
    paths: Mapping[str, tuple[str, ...]]
    """Labels of the modules on each path and end path."""
    threads: int
    streams: int
    events_expected: int | None
    """Number of events of the input, if known."""
    start_ns: int
    """On the clock of all stamps (``time.perf_counter_ns`` in a real job)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A module that failed."""

    label: str
    transition: str
    event: EventId | None
    error: BaseException
    policy: Literal["rethrow", "continue"]


@dataclasses.dataclass(frozen=True, slots=True)
class Activity:
    """A glance at a running job, for progress displays and SIGUSR1.

    Args:
        events_started, events_ended: so far.
        busy_threads: workers that run something now.
        waiting_external: requests in flight now, by module label.
        waiting_source, waiting_output: streams that wait for the next event; batches that wait for the disk.
    """

    time_ns: int
    events_started: int
    events_ended: int
    fates: Mapping[str, int]
    busy_threads: int
    waiting_external: Mapping[str, int]
    waiting_source: int


class Observer:
    """Base with no-op methods. All are called from worker threads, possibly at the same time, but for one stream never
    at the same time, except `tick`, which comes from the main thread. All times are nanoseconds of one monotonic clock.

    ``wants_modules`` makes the scheduler stamp every module call; without any such observer, calls are not timed.
    ``wants_events`` makes it call `event_started` and `event_ended`; observers that only count use `tick` instead.
    """

    wants_modules: bool = False
    wants_events: bool = False

    def begin_job(self, job: JobInfo) -> None:
        """Before the first event."""

    def end_job(self, result: Any) -> None:
        """After the last transition; ``result`` is a `evtfw.core.job.JobResult`."""

    def event_started(self, stream: int, event: EventId, time_ns: int) -> None:
        """A stream took an event."""

    def event_ended(self, stream: int, event: EventId, time_ns: int, fate: Fate) -> None:
        """The event has its fate; the stream is free."""

    def segment_ran(self, stream: int, segment: int, stamps_ns: list[int]) -> None:
        """The modules of a segment ran one after another, once or several times.

        Args:
            stamps_ns: for each pass n + 1 stamps for n modules: module i ran from stamp i to stamp i + 1. A pass in
                which a module failed comes alone and is shorter. With ``wants_events``, passes come one by one, as
                they end. The list is used again by the caller: copy what is to be kept.
        """

    def cpu_sampled(self, stream: int, segment: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """Like `segment_ran` (not called for this pass), for one pass, with the thread's CPU clock beside."""

    def bulk_ran(self, stream: int, segment: int, events: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """The modules of a segment ran one after another, each for several events, ahead of any stream's event.

        Args:
            events: how many.
            stamps_ns, cpu_ns: as of `cpu_sampled`; between two of them a module did all events.
        """

    def replied(self, stream: int, node: int, submitted_ns: int, replied_ns: int, reply: Any) -> None:
        """An external request ended after ``replied_ns - submitted_ns``.

        Args:
            node: index of the module's ``produce`` node.
            reply: the reply, or the exception that ended it.
        """

    def transition(self, name: str, label: str, where: str, stream: int | None, start_ns: int, end_ns: int) -> None:
        """``begin_job``, ``end_lumi`` … of one module ended; ``where`` is the run or lumi, or empty."""

    def failed(self, stream: int, failure: Failure) -> None:
        """A module failed."""

    def tick(self, activity: Activity) -> None:
        """About ten times a second, from the main thread."""
