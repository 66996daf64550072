"""A stream: one event slot, and the state machine that takes events through the plan.

No method waits. `run` takes events until one has to wait for a reply; a reply makes `resume` a task of the executor.
Several threads may run segments of the same event; counters and decision bits are guarded by the stream's lock.
"""

from __future__ import annotations

import threading
from array import array
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
from evtfw.core.steps import Step, make_drop, make_step

if TYPE_CHECKING:
    from evtfw.core.boundaries import LumiState, RunState
    from evtfw.core.feed import Block
    from evtfw.core.instances import Instances
    from evtfw.core.scheduler import Scheduler


class Stream(StreamFailures):
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
        self.event: Event = make_event(list(self.absent), number)
        self.own_modules = instances.for_stream(number)
        self.counters = [segment.need for segment in plan.segments]
        self.segments_left = 0
        self.bits = 0
        self.bit_counts: Counter[int] = Counter()
        self.resumers: list[Callable[[], None]] = [partial(self.resume, k) for k in range(len(plan.segments))]
        self.block: Block | None = None
        self.rows: Iterator[int] = iter(())
        self.block_size = 1
        self.block_start_ns = 0
        self.lumi: LumiState | None = None
        self.run_state: RunState | None = None
        self.is_retired = False
        self.is_observed = scheduler.observers.wants_modules or scheduler.observers.wants_events
        self.is_sampling = False
        self.ended = 0
        self.events_until_cpu_sample = 1
        self.bytes_in_flight = 0
        self._init_failures()
        modules = [instances.serving(n.label, number) if n.label in instances.of else None for n in plan.nodes]
        self.steps: list[Step] = [make_step(n, modules[n.index], self) for n in plan.nodes]
        if scheduler.checks_products:
            self.steps = [
                make_checked(s, n, modules[n.index], self.event, plan)
                for s, n in zip(self.steps, plan.nodes, strict=True)
            ]
        self.outputs = {n.index: m for n, m in zip(plan.nodes, modules, strict=True) if isinstance(m, OutputModule)}
        self.functions: list[list[Step]] = []
        self.positions: list[list[int]] = []
        self._make_functions()

    def _make_functions(self) -> None:
        """Make each segment's loop body: its nodes' steps, with releases of products between them.

        ``positions`` tells the place in the segment's nodes of each function.
        """
        reason = "was released: no module that declares it as an input runs after this"
        gone = [Absent(reference, reason) for reference in self.plan.slots]
        for segment in self.plan.segments:
            functions: list[Step] = []
            positions: list[int] = []
            for position, (node, slots) in enumerate(zip(segment.nodes, segment.drops, strict=True)):
                step = self.steps[node]
                if slots and self.is_observed:  # one function per node, so that each has its stamps
                    step, slots = _chain(step, make_drop(slots, gone)), ()
                functions.append(step)
                positions.append(position)
                if slots:
                    functions.append(make_drop(slots, gone))
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
                elapsed_ns = scheduler.clock.now_ns() - self.block_start_ns if self.block_start_ns else 0
                block = scheduler.take(self, elapsed_ns)
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
                self._run_simple_block()
            elif not self._run_block():
                return

    def _start_block(self, block: Block) -> None:
        self.block = block
        self.rows = iter(block.rows)
        self.block_start_ns = self.scheduler.clock.now_ns()
        event = self.event
        event.index = block.first_index - 1
        if event.__dict__.get("chunk") is not block.chunk:
            event.chunk = block.chunk
            columns = block.chunk.columns
            event.columns = [(Token(slot), columns[name]) for slot, name in self.plan.columns]

    def _run_simple_block(self) -> None:
        """Run all events of the block through the only segment, as bare as can be."""
        event, absent, scheduler = self.event, self.absent, self.scheduler
        event.lumi = self.block.lumi.block  # type: ignore[union-attr]
        functions = self.functions[0]
        bit_counts = self.bit_counts
        plain = not self.is_observed
        for row in self.rows:
            if scheduler.is_aborting:
                self.unprocessed += 1
                self.skip_outputs()
                continue
            event.row = row
            event.index += 1
            if plain:
                try:
                    for function in functions:
                        function(event)
                except BaseException as error:
                    self.recover(0, function, error)
            else:
                self._start_observed()
                self._run_observed(0)
            if self.bad_nodes or not plain:
                self._end_event()
            else:
                bit_counts[self.bits] += 1
                self.bits = 0
                self.ended += 1
                event[:] = absent
        self.block = None

    def _run_block(self) -> bool:
        """Run the block's events; False if one has to wait."""
        event = self.event
        event.lumi = self.block.lumi.block  # type: ignore[union-attr]
        for row in self.rows:
            event.row = row
            event.index += 1
            if self.scheduler.is_aborting:
                self.unprocessed += 1
                self.skip_outputs()
                continue
            self.counters[:] = self.scheduler.needs
            self.segments_left = len(self.counters)
            if self.is_observed:
                self._start_observed()
            if not self.run_segments(list(self.scheduler.roots)):
                return False
            self._end_event()
        self.block = None
        return True

    def resume(self, segment: int) -> None:
        """A segment got its last reply: go on with the event. A task of the executor."""
        if self.run_segments([segment]):
            self._end_event()
            if self._run_block():
                self.run()

    def _retire(self) -> None:
        self.scheduler.boundaries.leave(self)
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
                if segment.gate is not None and not self._is_open(segment.gate):
                    self.shut(index)
                elif self.bad_nodes or self.is_abandoned:
                    self.run_carefully(index, 0)
                elif self.is_observed:
                    self._run_observed(index)
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

    def _is_open(self, gate: tuple[int, ...]) -> bool:
        bits = self.bits
        return any(bits & mask == mask for mask in gate)

    def _measure_bytes(self) -> None:
        self.bytes_in_flight = sum(_size_bytes(product) for product in self.event)

    def _end_event(self) -> None:
        """Note the event's fate and empty its slots."""
        if self.is_observed or self.bad_nodes or self.is_abandoned or self.bytes_in_flight:
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

    # Observed runs

    def _start_observed(self) -> None:
        self.events_until_cpu_sample -= 1
        self.is_sampling = self.events_until_cpu_sample <= 0
        if self.is_sampling:
            self.events_until_cpu_sample = self.scheduler.events_between_cpu_samples(self)
        observers = self.scheduler.observers
        if observers.wants_events:
            observers.event_started(self.number, self.event.id, self.scheduler.clock.now_ns())

    def _run_observed(self, index: int) -> None:
        """Run a segment with a time stamp after each node."""
        event, functions = self.event, self.functions[index]
        clock = self.scheduler.clock.now_ns
        stamps: array[int] = array("q")
        note = stamps.append
        if self.is_sampling:
            self._run_sampled(index, stamps)
            return
        try:
            note(clock())
            for function in functions:
                function(event)
                note(clock())
        except BaseException as error:
            note(clock())
            self.recover(index, function, error)
        self.scheduler.observers.segment_ran(self.number, index, stamps)

    def _run_sampled(self, index: int, stamps: array[int]) -> None:
        """Like `_run_observed`, with the thread's CPU clock beside (a system call, hence for some events only)."""
        event, functions = self.event, self.functions[index]
        clock = self.scheduler.clock.now_ns
        cpu: array[int] = array("q")
        try:
            stamps.append(clock())
            cpu.append(thread_time_ns())
            for function in functions:
                function(event)
                cpu.append(thread_time_ns())
                stamps.append(clock())
        except BaseException as error:
            cpu.append(thread_time_ns())
            stamps.append(clock())
            self.recover(index, function, error)
        self.scheduler.observers.cpu_sampled(self.number, index, stamps, cpu)

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
