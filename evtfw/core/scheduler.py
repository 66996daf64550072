"""The scheduler: what streams share. A state machine; whoever runs its tasks (a runtime) brings threads and time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evtfw.core.accounting import Accounting
from evtfw.core.ahead import Ahead
from evtfw.core.boundaries import Boundaries
from evtfw.core.event import LuminosityBlock, Run
from evtfw.core.external_call import abandon, deadline_error
from evtfw.core.failures import ErrorPolicy, describe_failure
from evtfw.core.feed import PARKED, Block, Feed, Parked, next_size
from evtfw.core.module import Module
from evtfw.core.observer import Activity, Failure
from evtfw.core.resources import ResourceTable
from evtfw.core.selection import Selection
from evtfw.core.stream import Stream

if TYPE_CHECKING:
    from evtfw.core.instances import Instances
    from evtfw.core.observers import Observers
    from evtfw.core.plan import Plan, Segment
    from evtfw.core.process import ProcessOptions
    from evtfw.core.runtime import Runtime

TARGET_BLOCK_NS = 200_000
"""A stream takes as many events at once as last about this long: few locks for short events, balance for long ones."""
MAX_BLOCK = 512
FAILURES_KEPT = 100
CPU_SAMPLING_SHARE = 0.01
"""Share of the time that may go into sampling threads' CPU clocks."""
CPU_SAMPLE_NS = 10_000
"""Cost of sampling one node: reading the thread's CPU clock twice (1.2 µs), and what observers do with it."""


class Scheduler:
    """Runs a plan over the events of a source.

    Args:
        streams: events in flight at most.
        selection: which events are taken.
    """

    def __init__(
        self,
        plan: Plan,
        instances: Instances,
        runtime: Runtime,
        observers: Observers,
        options: ProcessOptions,
        streams: int,
        selection: Selection,
    ) -> None:
        self.plan = plan
        self.instances = instances
        self.runtime = runtime
        self.clock = runtime.clock
        self.submit = runtime.submit
        self.observers = observers
        self.policy = ErrorPolicy(options)
        self.bytes_limit = options.max_bytes_in_flight
        self.checks_products = options.check_products
        self.chains = runtime.chains
        self.spreads = runtime.threads > 1 and any(n.type.releases_gil for n in plan.nodes)
        self.needs, self.roots = _counters(plan)
        self.segments_per_event = len(plan.segments) - len(plan.ahead)
        self.accounting = Accounting(plan)
        self.resources = ResourceTable(_resource_limits(plan).items(), self.submit)
        self.is_simple = (
            len(plan.segments) == 1
            and not plan.segments[0].resources
            and not plan.ahead
            and self.chains
            and self.bytes_limit is None
        )
        self.boundaries = Boundaries(instances.for_job(), plan.lumi_slots, self.transit, self.submit)
        self.feed = Feed(self.boundaries, selection, self.submit, self.oldest_index, self.clock)
        self.ahead = Ahead(self.feed, options.bulk_events, self.submit) if plan.ahead else None
        self.streams_per_thread = max(1, streams // runtime.threads)
        self.lock = threading.Lock()
        self.starved: list[Stream] = []
        self.is_aborting = False
        self.is_stopping = False
        self.error: BaseException | None = None
        self.failures: list[Failure] = []
        self.failures_count = 0
        self.refused = 0
        self.start_ns = self.clock.now_ns()
        self.streams = [Stream(self, instances, number) for number in range(streams)]
        self.active = streams

    # Streams

    def take(self, stream: Stream, last_block_ns: int) -> Block | Parked | None:
        """Give a stream its next events, unless too many bytes are in flight."""
        if self.bytes_limit is not None:
            with self.lock:
                if sum(s.bytes_in_flight for s in self.streams) > self.bytes_limit:
                    self.starved.append(stream)
                    return PARKED
        stream.block_size = size = next_size(stream.block_size, last_block_ns, TARGET_BLOCK_NS, MAX_BLOCK)
        return self.feed.take(stream, size) if self.ahead is None else self.ahead.take(stream, size)

    def oldest_index(self) -> int | None:
        """Number of the oldest event in flight."""
        return min((s.event.index for s in self.streams if s.block is not None), default=None)

    def release_starved(self) -> None:
        """An event ended: streams that waited for memory try again."""
        with self.lock:
            starved, self.starved = self.starved, []
        for stream in starved:
            self.submit(stream.run)

    def retire(self, stream: Stream) -> None:
        """The stream takes no further events."""
        with self.lock:
            self.active -= 1
            is_last = not self.active
        if is_last:
            self.runtime.finished()

    def events_between_cpu_samples(self) -> int:
        """After how many events of a stream its CPU time is sampled again, so that it costs about a hundredth."""
        thread_ns = (self.clock.now_ns() - self.start_ns) * self.runtime.threads
        event_ns = thread_ns / max(1, self.feed.counts.taken)
        return 1 + int(CPU_SAMPLE_NS * len(self.plan.nodes) / (CPU_SAMPLING_SHARE * max(event_ns, 1.0)))

    # Serialised resources

    def enter_resources(self, segment: Segment, task: Callable[[], None]) -> bool:
        """Take all that the segment needs, or park the task and return False."""
        for number, name in enumerate(segment.resources):
            if not self.resources[name].try_enter(task):
                for taken in segment.resources[:number]:
                    self.resources[taken].leave()
                return False
        return True

    def leave_resources(self, segment: Segment) -> None:
        """Give back what the segment needed."""
        for name in segment.resources:
            self.resources[name].leave()

    # Transitions and failures

    def transit(self, module: Module, name: str, holder: Any, stream: int | None) -> bool:
        """Run a transition of one module; a failure ends the job. Returns whether it went well."""
        if getattr(type(module), name) is getattr(Module, name, None):  # not overridden: nothing to do
            return True
        method = getattr(module, name)
        resource = self.resources.get(f"module {module.label}")
        arguments = () if holder is None else (holder,)
        start_ns = self.clock.now_ns()
        if resource is not None:
            resource.enter()
        try:
            method(*arguments)
        except BaseException as error:
            where = _name_holder(holder)
            described = describe_failure(module.label, type(module).__name__, name, where, error)
            self.note_failure(Failure(module.label, name, None, described, "rethrow"), -1 if stream is None else stream)
            return False
        finally:
            if resource is not None:
                resource.leave()
        self.observers.transition(name, module.label, _name_holder(holder), stream, start_ns, self.clock.now_ns())
        return True

    def note_failure(self, failure: Failure, stream: int) -> None:
        """Keep account of a failure; under ``rethrow`` it ends the job."""
        with self.lock:
            self.failures_count += 1
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(failure)
        self.observers.failed(stream, failure)
        if failure.policy == "rethrow":
            self.abort(failure.error)

    def abort(self, error: BaseException) -> None:
        """End the job because of an error: no further events; those in flight are finished."""
        with self.lock:
            if self.error is None:
                self.error = error
            self.is_aborting = True
        self.feed.stop()
        self.release_starved()

    def stop(self) -> None:
        """End the job early, on request: no further events; those in flight are finished.

        Takes no lock, so that a signal handler may call it: `look` does the work.
        """
        self.is_stopping = True

    def count_refused(self) -> None:
        """A completion was resolved a second time, or too late."""
        with self.lock:
            self.refused += 1

    # Time

    def next_deadline_ns(self) -> int | None:
        """The earliest deadline of a request in flight."""
        due = [
            stream.calls.deadline_ns[x]
            for stream in self.streams
            for x, ticket in enumerate(stream.calls.ticket)
            if ticket
        ]
        return min(due, default=None)

    def look(self) -> None:
        """To be called now and then: obey a request to stop, and fail requests whose deadline has passed."""
        if self.is_stopping and not self.feed.is_stopped:
            self.feed.stop()
            self.release_starved()
        now_ns = self.clock.now_ns()
        for stream in self.streams:
            calls = stream.calls
            for external, ticket in enumerate(calls.ticket):
                if ticket and calls.deadline_ns[external] <= now_ns:
                    timeout_s = (calls.deadline_ns[external] - calls.submitted_ns[external]) * 1e-9
                    abandon(stream, external, deadline_error(stream, external, timeout_s))

    def activity(self) -> Activity:
        """A glance at what is going on."""
        waiting: dict[str, int] = {}
        for stream in self.streams:
            for external, ticket in enumerate(stream.calls.ticket):
                if ticket:
                    label = self.plan.nodes[self.plan.externals[external]].label
                    waiting[label] = waiting.get(label, 0) + 1
        fates = self.accounting.fates(self.streams)
        return Activity(
            self.clock.now_ns(), self.feed.counts.taken, sum(fates.values()), fates, self.runtime.busy_threads, waiting,
            len(self.feed.parked),
        )  # fmt: skip


def _counters(plan: Plan) -> tuple[list[int], list[int]]:
    """For each segment, how many others and replies an event's run of it waits for; and those that wait for none.

    What ran ahead need not be waited for.
    """
    needs = [segment.need for segment in plan.segments]
    for index in plan.ahead:
        for successor in plan.segments[index].successors:
            needs[successor] -= 1
    roots = [k for k, need in enumerate(needs) if not need and not plan.segments[k].is_ahead]
    return needs, roots[::-1]


def _resource_limits(plan: Plan) -> dict[str, int]:
    limits: dict[str, int] = {}
    for node in plan.nodes:
        if node.type.concurrency.kind == "limited" and node.phase not in ("source", "results"):
            limits[f"module {node.label}"] = node.type.concurrency.limit
        limits.update(dict.fromkeys(node.type.resources, 1))
    return limits


def _name_holder(holder: Any) -> str:
    if isinstance(holder, Run):
        return f"run {holder.number}"
    if isinstance(holder, LuminosityBlock):
        return f"luminosity block {holder.id}"
    return f"stream {holder}" if isinstance(holder, int) else ""
