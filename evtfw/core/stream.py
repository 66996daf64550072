"""A stream: one event slot, and the state machine that takes events through the plan.

No method waits. `run` takes events until one has to wait for a reply; a reply makes `resume` a task of the executor.
Several threads may run segments of the same event; counters and decision bits are guarded by the stream's lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from time import thread_time_ns
from typing import TYPE_CHECKING, Any

from evtfw.core.checks import make_checked
from evtfw.core.declare import Token
from evtfw.core.event import Absent, Event, make_event
from evtfw.core.external_call import PendingCalls, abandon, cancelled_error
from evtfw.core.failures import StreamFailures
from evtfw.core.feed import PARKED
from evtfw.core.module import OutputModule
from evtfw.core.observed import StreamObservation
from evtfw.core.preparation import Preparation
from evtfw.core.steps import Step, make_drop, make_step

if TYPE_CHECKING:
    from evtfw.core.ahead import PreparedEvent
    from evtfw.core.boundaries import LumiState, RunState
    from evtfw.core.feed import Block
    from evtfw.core.instances import Instances
    from evtfw.core.scheduler import Scheduler


class Stream(StreamFailures, StreamObservation):
    """One of the job's event slots.

    Attributes:
        bits: decisions of the filters in this event, two bits each, and whether an output kept it.
        counters: for each segment, how many segments and replies it still waits for.
        bit_counts: number of events by their final bits; all path and filter counts follow from it.
    """

    def __init__(self, scheduler: Scheduler, instances: Instances, number: int) -> None:
        plan = scheduler.plan
        self.scheduler = scheduler
        self.submit = scheduler.submit
        self.plan = plan
        self.number = number
        self.lock = threading.Lock()
        self.calls = PendingCalls(len(plan.externals))
        self.produce_segments = [plan.nodes[n].segment for n in plan.externals]
        self.absent = [Absent(ref, f"was not put by module '{ref.partition(':')[0]}'") for ref in plan.slots]
        self.absent.append(Absent("(none)", "is optional and not configured"))
        reason = "was released: no module that declares it as an input runs after this"
        self.gone = [Absent(reference, reason) for reference in plan.slots]
        self.event: Event = make_event(list(self.absent), number)
        self.own_modules = instances.for_stream(number)
        self.counters = [segment.need for segment in plan.segments]
        self.segments_left = 0
        self.bits = 0
        self.bit_counts: Counter[int] = Counter()
        self.resumers: list[Callable[[], None]] = [partial(self.resume, k) for k in range(len(plan.segments))]
        self.block: Block | None = None
        self.rows: Iterator[int] = iter(())
        self.prepared: Iterator[PreparedEvent] = iter(())
        self.block_size = 1
        self.block_start_ns = 0
        self.parked_at_ns = 0
        self.lumi: LumiState | None = None
        self.run_state: RunState | None = None
        self.is_retired = False
        self.ended = 0
        self.bytes_in_flight = 0
        self._init_failures()
        self._init_observation()
        modules = [instances.serving(n.label, number) if n.label in instances.of else None for n in plan.nodes]
        self.steps: list[Step] = [make_step(n, modules[n.index], self) for n in plan.nodes]
        if scheduler.checks_products:
            self.steps = [
                make_checked(s, n, modules[n.index], self.event, plan)
                for s, n in zip(self.steps, plan.nodes, strict=True)
            ]
        self.preparation = Preparation(self, modules) if plan.ahead else None
        self.outputs = {n.index: m for n, m in zip(plan.nodes, modules, strict=True) if isinstance(m, OutputModule)}
        self.run_simple_block = self._run_simple_block_observed if self.is_observed else self._run_simple_block
        self.functions: list[list[Step]] = []
        self.positions: list[list[int]] = []
        self._make_functions()

    def _make_functions(self) -> None:
        """Make each segment's loop body: its nodes' steps, with releases of products between them.

        ``positions`` tells the place in the segment's nodes of each function.
        """
        for segment in self.plan.segments:
            functions: list[Step] = []
            positions: list[int] = []
            for position, (node, slots) in enumerate(zip(segment.nodes, segment.drops, strict=True)):
                step = self.steps[node]
                if slots and self.is_observed:  # one function per node, so that each has its stamps
                    step, slots = _chain(step, make_drop(slots, self.gone)), ()
                functions.append(step)
                positions.append(position)
                if slots:
                    functions.append(make_drop(slots, self.gone))
                    positions.append(position)
            self.functions.append(functions)
            self.positions.append(positions)

    def set_bits(self, mask: int) -> None:
        """Note a decision of this event."""
        with self.lock:
            self.bits |= mask

    # Taking events

    def run(self) -> None:
        """Take events until one has to wait, none is there, or the job stops. A task of the executor."""
        scheduler = self.scheduler
        while True:
            if self.block is None:
                block = scheduler.take(self, self._last_block_ns())
                if block is PARKED:  # another thread may run this stream already: touch nothing
                    return
                if block is None:
                    self._retire()
                    return
                self._start_block(block)
            lumi = self.block.lumi  # type: ignore[union-attr]
            if self.lumi is not lumi and not scheduler.boundaries.enter(self, lumi):
                return
            if scheduler.is_simple:
                self.run_simple_block()
            elif self.preparation is not None and not self.block.prepared:  # type: ignore[union-attr]
                self._prepare_block(self.block, self.preparation)  # type: ignore[arg-type]
            elif not self._run_block():
                return

    def _last_block_ns(self) -> int:
        """About how much of a thread's time the last block took: it shared the threads with other streams."""
        if not self.block_start_ns:
            return 0
        elapsed_ns = self.scheduler.clock.now_ns() - self.block_start_ns
        return 1 + elapsed_ns // self.scheduler.streams_per_thread

    def _prepare_block(self, block: Block, preparation: Preparation) -> None:
        """Run what runs ahead for the block's events, and share them out: they are taken like those of others."""
        cpu_start_ns = thread_time_ns()
        prepared = preparation.prepare(block)
        wall_ns = self.scheduler.clock.now_ns() - self.block_start_ns
        elapsed_ns = min(wall_ns, thread_time_ns() - cpu_start_ns)  # on a busy machine, wall time tells little
        self.block, self.block_start_ns = None, 0
        self.scheduler.ahead.offer(block, prepared, elapsed_ns)  # type: ignore[union-attr]

    def _start_block(self, block: Block) -> None:
        self.block = block
        self.rows = iter(block.rows)
        self.prepared = iter(block.prepared)
        self.block_start_ns = self.scheduler.clock.now_ns()
        event = self.event
        event.index = block.first_index - 1
        if event.__dict__.get("chunk") is not block.chunk:
            event.chunk = block.chunk
            columns = block.chunk.columns
            event.columns = [(Token(slot), columns[name]) for slot, name in self.plan.columns]

    def _run_simple_block(self) -> None:
        """Run all events of the block through the only segment, as bare as can be."""
        event, absent, scheduler, functions = self.event, self.absent, self.scheduler, self.functions[0]
        event.lumi = self.block.lumi.block  # type: ignore[union-attr]
        bit_counts = self.bit_counts
        for row in self.rows:
            event.row = row
            event.index += 1
            if scheduler.is_aborting:
                self.skip_event()
                continue
            try:
                for function in functions:
                    function(event)
            except BaseException as error:
                self.recover(0, function, error)
                self._end_event()
                continue
            bit_counts[self.bits] += 1
            self.bits = 0
            self.ended += 1
            event[:] = absent
        self.block = None

    def _run_simple_block_observed(self) -> None:
        """The same with a time stamp after each node."""
        event, absent, scheduler, functions = self.event, self.absent, self.scheduler, self.functions[0]
        event.lumi = self.block.lumi.block  # type: ignore[union-attr]
        bit_counts, clock, stamps = self.bit_counts, scheduler.clock.now_ns, self.stamps[0]
        note, until_sample = stamps.append, self.events_until_cpu_sample
        if scheduler.observers.wants_events:
            until_sample = 0
        for row in self.rows:
            event.row = row
            event.index += 1
            until_sample -= 1
            if until_sample <= 0 or scheduler.is_aborting:
                self.events_until_cpu_sample = until_sample
                self._run_simple_event()
                until_sample = 0 if scheduler.observers.wants_events else self.events_until_cpu_sample
                continue
            note(clock())
            try:
                for function in functions:
                    function(event)
                    note(clock())
            except BaseException as error:
                passes = len(stamps) // (1 + len(functions))  # the whole ones before
                self.recover_observed(0, function, error, passes * (1 + len(functions)))
                self._end_event()
                continue
            bit_counts[self.bits] += 1
            self.bits = 0
            self.ended += 1
            event[:] = absent
        self.events_until_cpu_sample = until_sample
        self.block = None
        self.pass_on_stamps(0)

    def _run_simple_event(self) -> None:
        """One event of a simple plan with everything that an observer may want."""
        if self.scheduler.is_aborting:
            self.skip_event()
            return
        self.begin_observed_event()
        self.run_observed(0)
        self._end_event()

    def _run_block(self) -> bool:
        """Run the block's events; False if one has to wait."""
        event = self.event
        event.lumi = self.block.lumi.block  # type: ignore[union-attr]
        scheduler = self.scheduler
        for row in self.rows:
            event.row = row
            event.index += 1
            prepared = next(self.prepared, None)
            if scheduler.is_aborting:
                self.skip_event()
                continue
            self.counters[:] = scheduler.needs
            self.segments_left = scheduler.segments_per_event
            if self.is_observed:
                self.events_until_cpu_sample -= 1
                self.begin_observed_event()
            if prepared is not None:
                self._adopt(prepared)
            if self.segments_left and not self.run_segments(list(scheduler.roots)):
                return False
            self._end_event()
        self.block = None
        return True

    def _adopt(self, prepared: PreparedEvent) -> None:
        """Go on with an event for which modules ran ahead."""
        self.event[:] = prepared.event
        self.bits = prepared.bits
        if prepared.error is not None:
            self.fail_ahead(prepared, prepared.error)

    def resume(self, segment: int) -> None:
        """A segment got its last reply: go on with the event. A task of the executor."""
        if self.run_segments([segment]):
            self._end_event()
            if self._run_block():
                self.run()

    def _retire(self) -> None:
        self.scheduler.boundaries.leave(self)
        for index in range(len(self.stamps)):
            self.pass_on_stamps(index)
        self.is_retired = True
        self.scheduler.retire(self)

    # One event

    def run_segments(self, todo: list[int]) -> bool:
        """Run segments and what they make ready; True when the event is complete.

        Between a segment and its successors another thread may run others of the same event.
        """
        scheduler, lock, counters, functions = self.scheduler, self.lock, self.counters, self.functions
        segments, event = self.plan.segments, self.event
        is_complete = False
        while todo:
            index = todo.pop()
            segment = segments[index]
            if segment.resources and not scheduler.enter_resources(segment, self.resumers[index]):
                continue
            try:
                if segment.gate is not None and not segment.is_open(self.bits):
                    self.shut(index)
                elif self.bad_nodes or self.is_abandoned:
                    self.run_carefully(index, 0)
                elif self.is_observed:
                    self.run_observed(index)
                else:
                    try:
                        for function in functions[index]:
                            function(event)
                    except BaseException as error:
                        self.recover(index, function, error)
            finally:
                if segment.resources:
                    scheduler.leave_resources(segment)
            ready = todo if scheduler.chains else []
            with lock:
                for successor in segment.successors:
                    left = counters[successor] - 1
                    counters[successor] = left
                    if not left:
                        ready.append(successor)
                self.segments_left -= 1
                is_complete = not self.segments_left
            if scheduler.bytes_limit is not None:
                self._measure_bytes()
            if ready is not todo:
                for segment_index in ready:
                    scheduler.submit(self.resumers[segment_index])
            elif len(todo) > 1 and scheduler.spreads:
                self._spread(todo)
        return is_complete

    def _spread(self, todo: list[int]) -> None:
        """Give segments with long lock-free work to other threads, all but one."""
        for index in todo[:-1]:
            self.scheduler.submit(self.resumers[index])
        del todo[:-1]

    def _measure_bytes(self) -> None:
        self.bytes_in_flight = sum(_size_bytes(product) for product in self.event)

    def _end_event(self) -> None:
        """Note the event's fate and empty its slots."""
        if self.bad_nodes or self.is_abandoned or self.bytes_in_flight or self.scheduler.observers.wants_events:
            self._end_unusual_event()
        else:
            self.bit_counts[self.bits] += 1
        self.ended += 1
        self.bits = 0
        self.event[:] = self.absent

    def _end_unusual_event(self) -> None:
        """The event had failures, is watched, or its size is counted."""
        scheduler = self.scheduler
        fate = scheduler.accounting.end_event(self)
        if scheduler.observers.wants_events:
            scheduler.observers.event_ended(self.number, self.event.id, scheduler.clock.now_ns(), fate)
        self.clear_failures()
        if self.bytes_in_flight:
            self.bytes_in_flight = 0
            scheduler.release_starved()

    # Requests in flight

    def abandon_call(self, external: int, error: BaseException) -> None:
        """End a request in flight with an error."""
        abandon(self, external, error)

    def abandon_calls(self) -> None:
        """Give up all requests in flight of this event."""
        for external in range(len(self.produce_segments)):
            abandon(self, external, cancelled_error(self, external))


def _chain(step: Step, drop: Step) -> Step:
    def run(event: Event) -> None:
        step(event)
        drop(event)

    return run


def _size_bytes(product: Any) -> int:
    size = getattr(product, "nbytes", 0) if product.__class__ is not Absent else 0
    return size if isinstance(size, int) else 0
