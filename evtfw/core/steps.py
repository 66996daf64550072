"""The functions that a segment's loop calls, one per node: made once per stream, each takes the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from evtfw.core.binding import TRIGGER_RESULTS
from evtfw.core.event import Absent, Event
from evtfw.core.external_call import EventCompletion
from evtfw.core.module import (
    Analyzer,
    ExternalWorkModule,
    Filter,
    Module,
    OutputModule,
    Producer,
    TriggerResults,
)

if TYPE_CHECKING:
    from evtfw.core.plan import Node
    from evtfw.core.stream import Stream

Step = Callable[[Event], object]


def make_step(node: Node, module: Module | None, stream: Stream) -> Step:
    """Make the function of a node."""
    if node.phase == "source":
        return load_columns
    if node.phase == "results":
        return _results_step(stream)
    if isinstance(module, ExternalWorkModule):
        return _acquire_step(node, module, stream) if node.phase == "acquire" else _produce_step(node, module, stream)
    if isinstance(module, Filter):
        return _filter_step(node, module, stream)
    if isinstance(module, OutputModule):
        return _output_step(module, stream)
    return module.analyze if isinstance(module, Analyzer) else cast(Producer, module).produce


def load_columns(event: Event) -> None:
    """Put the event's view of each column that somebody reads."""
    row = event.row
    for slot, column in event.columns:
        event[slot] = column[row]


def make_drop(slots: tuple[int, ...], absent: list[Absent]) -> Step:
    """Make the function that releases products after their last reader."""
    released = [(slot, absent[slot]) for slot in slots]

    def drop(event: Any) -> None:
        for slot, gone in released:
            event[slot] = gone

    return drop


def _filter_step(node: Node, module: Filter, stream: Stream) -> Step:
    decide, set_bits = module.filter, stream.set_bits
    if node.decision < 0:
        return decide
    passed, rejected = 1 << (2 * node.decision), 2 << (2 * node.decision)

    def run(event: Event) -> None:
        set_bits(passed if decide(event) else rejected)

    return run


def _output_step(module: OutputModule, stream: Stream) -> Step:
    write, set_bits, written = module.write, stream.set_bits, stream.plan.written_bit

    def run(event: Event) -> None:
        if write(event):
            set_bits(written)

    return run


def _results_step(stream: Stream) -> Step:
    plan = stream.plan
    slot = plan.slots.index(f"{TRIGGER_RESULTS}:results")
    paths = [path for path in plan.paths if not path.is_end]
    masks = [plan.mask(path.term) for path in paths]
    names, none_failed = tuple(path.name for path in paths), (False,) * len(paths)
    known: dict[int, TriggerResults] = {}

    def run(event: Any) -> None:
        bits = stream.bits
        if stream.bad_nodes:
            event[slot] = stream.results_with_failures(paths)
            return
        results = known.get(bits)
        if results is None:
            accepted = tuple(bits & mask == mask for mask in masks)
            results = known[bits] = TriggerResults(names, accepted, none_failed)
        event[slot] = results

    return run


def _acquire_step(node: Node, module: ExternalWorkModule, stream: Stream) -> Step:
    acquire, external, calls = module.acquire, node.external, stream.calls
    scheduler = stream.scheduler
    now_ns = scheduler.clock.now_ns
    timeout_ns = int(module.timeout_s * 1e9)
    tickets, last_tickets, works = calls.ticket, calls.last_ticket, calls.work
    deadlines, submitted = calls.deadline_ns, calls.submitted_ns

    def run(event: Event) -> None:
        start_ns = now_ns()
        last_tickets[external] = ticket = last_tickets[external] + 1
        submitted[external] = start_ns
        deadlines[external] = deadline_ns = start_ns + timeout_ns
        works[external] = None
        tickets[external] = ticket
        acquire(event, EventCompletion(stream, external, ticket, deadline_ns))

    return run


def _produce_step(node: Node, module: ExternalWorkModule, stream: Stream) -> Step:
    produce, external, calls = module.produce, node.external, stream.calls
    replies, errors = calls.reply, calls.error
    observers = stream.scheduler.observers
    index, number = node.index, stream.number

    def run(event: Event) -> None:
        reply, error = replies[external], errors[external]
        replies[external] = None
        if stream.is_observed:
            outcome = reply if error is None else error
            observers.replied(number, index, calls.submitted_ns[external], calls.replied_ns[external], outcome)
        if error is not None:
            errors[external] = None
            raise error
        produce(event, reply)

    return run
