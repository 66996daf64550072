"""How a stream runs the segments that come ahead of it: node by node, each for all events of a bulk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import thread_time_ns
from typing import TYPE_CHECKING, Any

from evtfw.core.ahead import PreparedEvent
from evtfw.core.checks import CheckedEvent, own_slots
from evtfw.core.event import Event, make_event
from evtfw.core.module import BulkProducer, Filter
from evtfw.core.plan import takes_bulks
from evtfw.core.steps import load_columns, make_drop

if TYPE_CHECKING:
    from evtfw.core.feed import Block
    from evtfw.core.plan import Node
    from evtfw.core.stream import Stream

BulkStep = Callable[[Sequence[PreparedEvent]], None]


class Preparation:
    """A stream's way through the ahead segments, with its own module instances."""

    def __init__(self, stream: Stream, modules: Sequence[Any]) -> None:
        self.stream = stream
        self.plan = stream.plan
        self.steps = {
            n: _bulk_step(self.plan.nodes[n], modules[n], stream)
            for index in self.plan.ahead
            for n in self.plan.segments[index].nodes
        }
        self.drops = {
            (index, position): make_drop(slots, stream.gone)
            for index in self.plan.ahead
            for position, slots in enumerate(self.plan.segments[index].drops)
            if slots
        }

    def prepare(self, block: Block) -> list[PreparedEvent]:
        """Run the ahead segments for all events of a block."""
        prepared = [PreparedEvent(event) for event in self._events(block)]
        for index in self.plan.ahead:
            segment = self.plan.segments[index]
            chosen = [p for p in prepared if p.error is None and segment.is_open(p.bits)]
            if chosen:
                self._run_segment(index, chosen)
        return prepared

    def _events(self, block: Block) -> list[Event]:
        stream = self.stream
        events = []
        for number, row in enumerate(block.rows):
            event = make_event(stream.absent, stream.number)
            event.chunk, event.row, event.lumi = block.chunk, row, block.lumi.block
            event.index = block.first_index + number
            event.columns = stream.event.columns
            events.append(event)
        return events

    def _run_segment(self, index: int, chosen: list[PreparedEvent]) -> None:
        """Run a segment module by module, with time stamps of wall and CPU after each."""
        now_ns = self.stream.scheduler.clock.now_ns
        stamps, cpu = [now_ns()], [thread_time_ns()]
        count = len(chosen)
        for position, node in enumerate(self.plan.segments[index].nodes):
            if chosen:
                self.steps[node](chosen)
                chosen = _still_sound(chosen, node)
            drop = self.drops.get((index, position))
            if drop is not None:
                for prepared in chosen:
                    drop(prepared.event)
            cpu.append(thread_time_ns())
            stamps.append(now_ns())
        observers = self.stream.scheduler.observers
        if observers.wants_modules:
            observers.bulk_ran(self.stream.number, index, count, stamps, cpu)


def _still_sound(chosen: list[PreparedEvent], node: int) -> list[PreparedEvent]:
    sound = []
    for prepared in chosen:
        if prepared.error is None:
            prepared.done.append(node)
            sound.append(prepared)
    return sound


def _bulk_step(node: Node, module: Any, stream: Stream) -> BulkStep:
    """Make the function that runs a node for several events."""
    seen_as = _view(node, module, stream)
    if node.phase == "source":
        return _each(node.index, lambda prepared: load_columns(prepared.event))
    if isinstance(module, Filter):
        passed, rejected = (1 << (2 * node.decision), 2 << (2 * node.decision)) if node.decision >= 0 else (0, 0)

        def decide(prepared: PreparedEvent) -> None:
            prepared.bits |= passed if module.filter(seen_as(prepared.event)) else rejected

        return _each(node.index, decide)
    one = _each(node.index, lambda prepared: module.produce(seen_as(prepared.event)))
    return _whole(module, seen_as, one, stream) if takes_bulks(type(module)) else one


def _view(node: Node, module: Any, stream: Stream) -> Callable[[Event], Event]:
    """How the module sees events: as they are, or checked."""
    if module is None or not stream.scheduler.checks_products:
        return lambda event: event
    puts = own_slots(module)
    return lambda event: CheckedEvent(event, node, stream.plan, puts)  # type: ignore[return-value]


def _each(node: int, function: Callable[[PreparedEvent], object]) -> BulkStep:
    def run(chosen: Sequence[PreparedEvent]) -> None:
        for prepared in chosen:
            try:
                function(prepared)
            except BaseException as error:
                prepared.fail(node, error)

    return run


def _whole(module: BulkProducer, seen_as: Callable[[Event], Event], one: BulkStep, stream: Stream) -> BulkStep:
    slots = [slot for slot in own_slots(module) if slot < len(stream.plan.slots)]

    def run(chosen: Sequence[PreparedEvent]) -> None:
        if len(chosen) == 1:
            one(chosen)
            return
        try:
            module.produce_bulk([seen_as(prepared.event) for prepared in chosen])
        except BaseException:
            for prepared in chosen:
                event: Any = prepared.event
                for slot in slots:
                    event[slot] = stream.absent[slot]
            one(chosen)

    return run
