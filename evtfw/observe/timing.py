"""Measures where the time of a job goes, at the cost of a few tens of nanoseconds per module call."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.observer import Activity, Failure, JobInfo, NodeInfo, Observer
from evtfw.observe.failures import FailureKind, FailureTally
from evtfw.observe.histogram import DurationHistogram, HistogramStack
from evtfw.observe.replies import ReplyTally, ReplyTiming
from evtfw.observe.series import Series

_BUFFERED_STAMPS = 2_000_000  # over all streams and segments: 16 MB
_BUFFERED_BULKS = 64
_LONGEST_BUFFER = 8_192  # stamps; more would not make the reduction cheaper, and would leave the cache


@dataclasses.dataclass(frozen=True, slots=True)
class StepTiming:
    """All calls of one node of the plan.

    Args:
        cpu_ns: CPU time of all calls, scaled up from the sampled ones by wall time; None if none was sampled.
    """

    node: NodeInfo
    wall: DurationHistogram
    cpu_ns: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class ModuleTiming:
    """One module; for external work with its three parts.

    Args:
        step: the module's calls; of an external-work module, ``produce``.
        acquire, replies: only of an external-work module.
    """

    label: str
    type: str
    kind: str
    step: StepTiming
    acquire: StepTiming | None = None
    replies: ReplyTiming | None = None

    @property
    def calls(self) -> int:
        """Number of events that reached the module."""
        return (self.acquire or self.step).wall.count

    @property
    def wall_ns(self) -> int:
        """Time in the module's own code, waiting for replies not included."""
        return self.step.wall.total_ns + (self.acquire.wall.total_ns if self.acquire else 0)

    @property
    def cpu_ns(self) -> float | None:
        """CPU time in the module's own code, or None if it was not sampled."""
        parts = [part.cpu_ns for part in (self.acquire, self.step) if part is not None and part.wall.count]
        known = [part for part in parts if part is not None]
        return sum(known) if known and len(known) == len(parts) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """What a `TimingObserver` measured.

    Args:
        modules: in the order of the plan.
        timeline: ``time_s`` from the start, ``events_ended``, ``busy_threads``, ``waiting_source``, and for each
            external-work module its requests in flight under ``external:LABEL``.
        transitions: number and wall time in ns of ``begin_job`` and so on, by name and label.
        failures: by module and type.
    """

    modules: tuple[ModuleTiming, ...]
    timeline: Series
    transitions: Mapping[tuple[str, str], tuple[int, int]]
    failures: tuple[FailureKind, ...]

    @property
    def module_calls(self) -> int:
        """Calls of all modules; acquire and produce count apart."""
        return sum(m.step.wall.count + (m.acquire.wall.count if m.acquire else 0) for m in self.modules)

    @property
    def module_wall_ns(self) -> int:
        """Wall time inside all modules, summed over threads."""
        return sum(module.wall_ns for module in self.modules)

    @property
    def module_cpu_ns(self) -> float | None:
        """CPU time inside all modules that were called, or None if some was not sampled."""
        parts = [module.cpu_ns for module in self.modules if module.calls]
        known = [part for part in parts if part is not None]
        return sum(known) if known and len(known) == len(parts) else None


class _SegmentSums:
    """Reduced figures of one segment, over all streams. Not thread-safe."""

    def __init__(self, size: int) -> None:
        self.wall = HistogramStack(size)
        self._sampled_wall_ns = [0] * size
        self._sampled_cpu_ns = [0] * size
        self._bulks: list[list[int]] = []
        self._events: list[int] = []

    def sample(self, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """Take a pass with its CPU time beside."""
        for number, pair in enumerate(itertools.pairwise(zip(stamps_ns, cpu_ns, strict=True))):
            (start_ns, cpu_start_ns), (end_ns, cpu_end_ns) = pair
            self._sampled_wall_ns[number] += end_ns - start_ns
            self._sampled_cpu_ns[number] += cpu_end_ns - cpu_start_ns

    def add_bulk(self, events: int, stamps_ns: list[int]) -> None:
        """Take a whole pass for several events; each gets its share."""
        self._events.append(events)
        self._bulks.append(list(stamps_ns))
        if len(self._bulks) >= _BUFFERED_BULKS:
            self.reduce_bulks()

    def reduce_bulks(self) -> None:
        """Fill what was collected into the histograms."""
        if self._bulks:
            shares = _differences(np.array(self._bulks).T) // np.array(self._events)
            self.wall.add(np.repeat(shares, self._events, axis=1))
            self._bulks, self._events = [], []

    def cpu_ns(self, position: int) -> float | None:
        """Scaling by wall time, not by calls, because the rare slow calls are seldom among the sampled ones."""
        sampled = self._sampled_wall_ns[position]
        if not sampled:
            return None
        return self.wall[position].total_ns * (self._sampled_cpu_ns[position] / sampled)


class TimingObserver(Observer):
    """Sums up the time of every module call, and the distribution of it.

    Stamps are only copied when they come, into a buffer for each stream and segment; every few thousand are reduced at
    once with NumPy. Read `timing` when the job has ended.
    """

    wants_modules = True

    def begin_job(self, job: JobInfo) -> None:
        """See `Observer.begin_job`."""
        self._job = job
        self._lock = threading.Lock()
        self._failures = FailureTally()
        self._transitions: dict[tuple[str, str], tuple[int, int]] = {}
        self._lengths = [len(nodes) + 1 for nodes in job.segments]
        self._sums = [_SegmentSums(len(nodes)) for nodes in job.segments]
        buffers = max(1, job.streams * len(job.segments))
        self._longest = min(_LONGEST_BUFFER, max(_BUFFERED_STAMPS // buffers, 64))
        self._stamps: list[list[list[int]]] = [[[] for _ in job.segments] for _ in range(job.streams)]
        produces = [node for node in job.nodes if node.phase == "produce"]
        self._replies = {node.index: ReplyTally(job.streams) for node in produces}
        self._external = tuple(node.label for node in produces)
        external = [f"external:{label}" for label in self._external]
        self._timeline = Series(["events_ended", "busy_threads", "waiting_source", *external])

    def segment_ran(self, stream: int, segment: int, stamps_ns: list[int]) -> None:
        """See `Observer.segment_ran`."""
        if len(stamps_ns) < self._lengths[segment]:
            with self._lock:
                self._sums[segment].wall.add(_differences(np.array(stamps_ns))[:, None])
            return
        buffer = self._stamps[stream][segment]
        buffer.extend(stamps_ns)
        if len(buffer) > self._longest:
            self._reduce(stream, segment)

    def cpu_sampled(self, stream: int, segment: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """See `Observer.cpu_sampled`."""
        with self._lock:
            self._sums[segment].sample(stamps_ns, cpu_ns)
        self.segment_ran(stream, segment, stamps_ns)

    def bulk_ran(self, stream: int, segment: int, events: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """See `Observer.bulk_ran`."""
        with self._lock:
            self._sums[segment].sample(stamps_ns, cpu_ns)
            self._sums[segment].add_bulk(events, stamps_ns)

    def replied(self, stream: int, node: int, submitted_ns: int, replied_ns: int, reply: Any) -> None:
        """See `Observer.replied`."""
        self._replies[node].add(stream, replied_ns - submitted_ns, reply)

    def transition(self, name: str, label: str, where: str, stream: int | None, start_ns: int, end_ns: int) -> None:
        """See `Observer.transition`."""
        with self._lock:
            count, total_ns = self._transitions.get((name, label), (0, 0))
            self._transitions[name, label] = count + 1, total_ns + end_ns - start_ns

    def failed(self, stream: int, failure: Failure) -> None:
        """See `Observer.failed`."""
        self._failures.add(failure)

    def tick(self, activity: Activity) -> None:
        """See `Observer.tick`."""
        waiting = [activity.waiting_external.get(label, 0) for label in self._external]
        row = [activity.events_ended, activity.busy_threads, activity.waiting_source, *waiting]
        self._timeline.add((activity.time_ns - self._job.start_ns) * 1e-9, row)

    def end_job(self, result: Any) -> None:
        """See `Observer.end_job`."""
        for stream, buffers in enumerate(self._stamps):
            for segment in range(len(buffers)):
                self._reduce(stream, segment)
        for sums in self._sums:
            sums.reduce_bulks()

    def timing(self) -> Timing:
        """Return what was measured; complete after `end_job`."""
        return Timing(self._modules(), self._timeline, dict(self._transitions), self._failures.kinds())

    def _reduce(self, stream: int, segment: int) -> None:
        stamps, self._stamps[stream][segment] = self._stamps[stream][segment], []
        if not stamps:
            return
        passes = np.fromiter(stamps, np.int64, len(stamps)).reshape(-1, self._lengths[segment]).T
        durations = _differences(np.ascontiguousarray(passes))
        with self._lock:
            self._sums[segment].wall.add(durations)

    def _modules(self) -> tuple[ModuleTiming, ...]:
        by_label: dict[str, list[NodeInfo]] = {}
        for node in self._job.nodes:
            by_label.setdefault(node.label, []).append(node)
        return tuple(self._module(nodes) for nodes in by_label.values())

    def _module(self, nodes: list[NodeInfo]) -> ModuleTiming:
        steps = {node.phase: self._step(node) for node in nodes}
        first = nodes[0]
        produce = steps.get("produce")
        if produce is None:
            return ModuleTiming(first.label, first.type, first.kind, steps[first.phase])
        replies = self._replies[produce.node.index].timing()
        return ModuleTiming(first.label, first.type, first.kind, produce, steps.get("acquire"), replies)

    def _step(self, node: NodeInfo) -> StepTiming:
        sums = self._sums[node.segment]
        return StepTiming(node, sums.wall[node.position], sums.cpu_ns(node.position))


def _differences(stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """From each stamp to the next along the first axis; `numpy.diff` does the same, ten times slower on a few."""
    return stamps_ns[1:] - stamps_ns[:-1]
