"""The plan: nodes and segments as static arrays, made once before the first event.

Every module is one node, an external-work module two (acquire, produce). Nodes with the same set of *waits* before them
(external modules, modules in segments of their own) and the same gate form a **segment**: nothing in it can wait, so it
runs as one bare loop, and counters, lock and queue are touched once per segment instead of once per module.

Modules that take several events at once (`BulkProducer`) and all that comes before them are put into segments that run
**ahead** of the streams, see `evtfw.core.ahead`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from evtfw.core.binding import SOURCE, TRIGGER_RESULTS, Binder
from evtfw.core.module import BulkProducer, ExternalWorkModule, Filter, Module, OutputModule
from evtfw.core.observer import NodeInfo, Phase
from evtfw.core.schedule import OPEN, Gate, PathPlan, Schedule, Term

DROP_EVERY = 8
"""Nodes of a segment between two releases of products: often enough for memory, seldom enough for speed."""


@dataclasses.dataclass(slots=True)
class Node:
    """One step: a module, half of an external-work module, or one of the framework's own steps.

    Args:
        needs: nodes whose products or decisions it waits for.
        required: nodes without whose products it cannot run.
        external: index among the external modules, or -1.
        decision: index among the filters, or -1.
        reads: product slots that it reads.
    """

    index: int
    label: str
    phase: Phase
    gate: Gate
    needs: tuple[int, ...]
    required: tuple[int, ...] = ()
    external: int = -1
    decision: int = -1
    reads: tuple[int, ...] = ()
    type: type[Module] = Module
    segment: int = -1
    position: int = -1


@dataclasses.dataclass(slots=True)
class Segment:
    """Nodes that run one after another without waiting.

    Args:
        nodes: in order of running.
        drops: for each node, the slots to release after it.
        successors: segments that wait for this one.
        need: number of segments and replies that it waits for.
        gate: masks of decision bits, one of which must be set; None if always open.
        resources: names of the serialised resources it takes.
        is_ahead: whether it runs for several events at once, before streams take them.
    """

    nodes: list[int]
    drops: list[tuple[int, ...]]
    successors: list[int]
    need: int
    gate: tuple[int, ...] | None
    resources: tuple[str, ...]
    has_output: bool = False
    is_ahead: bool = False

    def is_open(self, bits: int) -> bool:
        """Whether the event's decisions so far open the gate."""
        return self.gate is None or any(bits & mask == mask for mask in self.gate)


@dataclasses.dataclass(slots=True)
class Plan:
    """The compiled, static form of a process."""

    nodes: list[Node]
    segments: list[Segment]
    slots: list[str]
    """Reference of the product in each slot of an event."""
    externals: list[int]
    """Indices of the produce nodes of external modules."""
    decisions: list[str]
    """Labels of the filters, in the order of their bits."""
    paths: list[PathPlan]
    columns: list[tuple[int, str]]
    """Slot and name of each column that is read from the source."""
    lumi_slots: dict[str, list[str]]
    """References of the products of runs and lumis, by scope."""

    @property
    def written_bit(self) -> int:
        """The bit that an output sets when it keeps the event."""
        return 1 << (2 * len(self.decisions))

    @property
    def ahead(self) -> list[int]:
        """Indices of the segments that run ahead of the streams, in order of running."""
        return [index for index, segment in enumerate(self.segments) if segment.is_ahead]

    @property
    def has_outputs(self) -> bool:
        """Whether any output module runs."""
        return any(s.has_output for s in self.segments)

    def mask(self, term: Term) -> int:
        """Bits of the decisions in a term: two per filter, passed and rejected."""
        return sum(1 << (2 * self.decisions.index(label) + (want == "reject")) for label, want in term)

    def node_infos(self) -> tuple[NodeInfo, ...]:
        """The nodes as observers see them."""
        return tuple(
            NodeInfo(n.index, n.label, *_type_and_kind(n), n.phase,
                     n.segment, n.position, n.needs)
            for n in self.nodes
        )  # fmt: skip


def _type_and_kind(node: Node) -> tuple[str, str]:
    return ("", "framework") if node.phase == "results" else (node.type.__name__, node.type.kind)


class _Tables:
    """Slots and node indices by name, while the plan is being made."""

    def __init__(self, binder: Binder, schedule: Schedule) -> None:
        self.slots: dict[str, int] = {}
        self.after: dict[str, int] = {}
        modules = [binder.modules[label] for label in schedule.order]
        for label in schedule.order:
            for product in binder.products[label].values():
                if product.scope == "event":
                    self.slots.setdefault(product.reference, len(self.slots))
        for module in modules:
            for product in module.consumed():
                self.slots.setdefault(product.reference, len(self.slots))
        self.reads = {m.label: tuple(dict.fromkeys(self.slots[p.reference] for p in m.consumed())) for m in modules}


def make_plan(binder: Binder, schedule: Schedule, *, in_bulk: bool = True) -> Plan:
    """Make the plan of a process without mistakes.

    Args:
        in_bulk: whether modules may run ahead, for several events at once.
    """
    tables = _Tables(binder, schedule)
    plan = Plan([], [], list(tables.slots), [], [], schedule.paths, [], {})
    prefix = f"{SOURCE}:"
    plan.columns = [(i, ref.removeprefix(prefix)) for ref, i in tables.slots.items() if ref.startswith(prefix)]
    deciding = {label for gate in schedule.gates.values() for term in gate for label, _ in term}
    deciding |= {label for path in schedule.paths for label, want in path.steps if want}
    plan.decisions = [label for label in schedule.order if label in deciding]
    _make_nodes(plan, binder, schedule, tables)
    _make_segments(plan, in_bulk)
    _place_drops(plan)
    for scope in ("lumi", "run"):
        plan.lumi_slots[scope] = [
            p.reference for label in schedule.order for p in binder.products[label].values() if p.scope == scope
        ]
    return plan


def _make_nodes(plan: Plan, binder: Binder, schedule: Schedule, tables: _Tables) -> None:
    on_paths = {label for path in plan.paths if not path.is_end for label in path.labels}
    wants_results = f"{TRIGGER_RESULTS}:results" in tables.slots
    waiting_for_results = _waiting_for_results(binder, schedule)
    if plan.columns:
        _add(plan, tables, Node(0, SOURCE, "source", OPEN, (), type=binder.modules[SOURCE].cls))
    for label in [s for s in schedule.order if s not in waiting_for_results]:
        _add_module(plan, binder, schedule, tables, label)
    if wants_results:
        needs = tuple(sorted(tables.after[label] for label in on_paths))
        _add(plan, tables, Node(0, TRIGGER_RESULTS, "results", OPEN, needs))
    for label in [s for s in schedule.order if s in waiting_for_results]:
        _add_module(plan, binder, schedule, tables, label)


def _waiting_for_results(binder: Binder, schedule: Schedule) -> set[str]:
    """Labels of the modules that read the results of the paths, or wait for one that does."""
    waiting: set[str] = set()
    for label in schedule.order:
        reads = any(p.label == TRIGGER_RESULTS for p in binder.modules[label].consumed())
        if reads or waiting & schedule.waits[label]:
            waiting.add(label)
    return waiting


def _add_module(plan: Plan, binder: Binder, schedule: Schedule, tables: _Tables, label: str) -> None:
    module = binder.modules[label]
    needs = {tables.after[other] for other in schedule.waits[label]}
    if any(p.label == SOURCE for p in module.consumed()):
        needs.add(tables.after[SOURCE])
    if any(p.label == TRIGGER_RESULTS for p in module.consumed()):
        needs.add(tables.after[TRIGGER_RESULTS])
    required = {tables.after[p.label] for _, p in module.required()}
    decision = plan.decisions.index(label) if label in plan.decisions and issubclass(module.cls, Filter) else -1
    node = Node(0, label, "event", schedule.gates[label], tuple(sorted(needs)), tuple(sorted(required)),
                decision=decision, reads=tables.reads[label], type=module.cls)  # fmt: skip
    if issubclass(module.cls, ExternalWorkModule):
        acquire = dataclasses.replace(node, phase="acquire", external=len(plan.externals))
        _add(plan, tables, acquire)
        node = dataclasses.replace(
            node, phase="produce", external=acquire.external, needs=(acquire.index, *acquire.needs),
            required=(acquire.index, *acquire.required),
        )  # fmt: skip
        plan.externals.append(len(plan.nodes))
    _add(plan, tables, node)


def _add(plan: Plan, tables: _Tables, node: Node) -> None:
    node.index = len(plan.nodes)
    plan.nodes.append(node)
    tables.after[node.label] = node.index


def _make_segments(plan: Plan, in_bulk: bool) -> None:
    nodes = plan.nodes
    ahead = _ahead(nodes) if in_bulk else [False] * len(nodes)
    before: list[frozenset[int]] = []  # what an event waits for before a node can run
    key_of: list[tuple[object, ...]] = []
    depth: list[int] = []
    for node in nodes:
        waits = frozenset().union(*(before[n] for n in node.needs)) if node.needs else frozenset()
        alone = _resources(node) or node.type.releases_gil
        if node.phase == "produce" or alone:
            waits |= {node.index}
        before.append(waits)
        key = (waits, node.gate, node.index if _resources(node) else -1, ahead[node.index])
        key_of.append(key)
        depth.append(max((depth[n] + (key_of[n] != key) for n in node.needs), default=0))
    groups: dict[tuple[object, ...], list[int]] = {}
    for node in nodes:
        groups.setdefault((key_of[node.index], depth[node.index]), []).append(node.index)
    urgent = _urgent(nodes)
    for members in sorted(groups.values(), key=lambda m: depth[m[0]]):
        first = [n for n in members if urgent[n]]
        _add_segment(plan, first + [n for n in members if not urgent[n]], is_ahead=ahead[members[0]])
    _link(plan, urgent)


def _ahead(nodes: list[Node]) -> list[bool]:
    """Which nodes run ahead: modules that take several events at once, and all that they need.

    Only if nothing before them waits, is serialised, or depends on the results of paths.
    """
    is_free: list[bool] = []
    for node in nodes:
        waits = node.phase in ("acquire", "produce", "results") or _resources(node) or node.type.releases_gil
        is_free.append(not waits and all(is_free[n] for n in node.needs))
    ahead = [is_free[n.index] and n.phase == "event" and takes_bulks(n.type) for n in nodes]
    for node in reversed(nodes):
        if ahead[node.index]:
            for n in node.needs:
                ahead[n] = True
    return ahead


def takes_bulks(cls: type[Module]) -> bool:
    """Whether the class takes several events at once, and no subclass has changed what happens to a single one."""
    return issubclass(cls, BulkProducer) and cls.produce is BulkProducer.produce


def _urgent(nodes: list[Node]) -> list[bool]:
    """Which nodes a request to a service waits for: they run first, so that requests leave as early as possible."""
    urgent = [node.phase == "acquire" for node in nodes]
    for node in reversed(nodes):
        if urgent[node.index]:
            for n in node.needs:
                urgent[n] = True
    return urgent


def _resources(node: Node) -> tuple[str, ...]:
    if node.phase in ("source", "results"):
        return ()
    own = (f"module {node.label}",) if node.type.concurrency.kind == "limited" else ()
    return tuple(sorted((*own, *node.type.resources)))


def _add_segment(plan: Plan, members: list[int], *, is_ahead: bool) -> None:
    nodes = [plan.nodes[i] for i in members]
    gate = nodes[0].gate
    masks = None if frozenset() in gate else tuple(sorted(plan.mask(term) for term in gate))
    segment = Segment(
        members, [()] * len(members), [], 0, masks, _resources(nodes[0]),
        has_output=any(issubclass(n.type, OutputModule) and n.type.keeps_events for n in nodes),
        is_ahead=is_ahead,
    )  # fmt: skip
    for position, node in enumerate(nodes):
        node.segment, node.position = len(plan.segments), position
        segment.need += node.phase == "produce"
    plan.segments.append(segment)


def _link(plan: Plan, urgent: list[bool]) -> None:
    before: list[set[int]] = [set() for _ in plan.segments]
    for node in plan.nodes:
        before[node.segment] |= {plan.nodes[n].segment for n in node.needs} - {node.segment}
    for index, predecessors in enumerate(before):
        plan.segments[index].need += len(predecessors)
        for p in predecessors:
            plan.segments[p].successors.append(index)
    leads_out = [any(urgent[n] for n in s.nodes) for s in plan.segments]
    for segment in plan.segments:  # the last one ready runs first
        segment.successors.sort(key=leads_out.__getitem__)


def _place_drops(plan: Plan) -> None:
    """Release each product after its last reader, at every `DROP_EVERY`-th node and at the end of a segment.

    Only products whose readers all sit in one segment, or in segments of which one comes after all others, are
    released early; the rest with the event. In a plan of one segment whose end is the event's, so is the last batch.
    """
    readers: dict[int, list[Node]] = {}
    for node in plan.nodes:
        for slot in node.reads:
            readers.setdefault(slot, []).append(node)
    after = _descendants(plan)
    by_segment: dict[int, dict[int, list[int]]] = {}
    for slot, nodes in readers.items():
        segments = {n.segment for n in nodes}
        last = next((s for s in segments if all(o == s or s in after[o] for o in segments)), None)
        if last is not None:
            position = max(n.position for n in nodes if n.segment == last)
            by_segment.setdefault(last, {}).setdefault(position, []).append(slot)
    for index, positions in by_segment.items():
        segment = plan.segments[index]
        end = len(segment.nodes) - 1
        for position, slots in positions.items():
            at = min((position // DROP_EVERY + 1) * DROP_EVERY - 1, end)
            if at == end and not segment.successors:
                continue
            segment.drops[at] = (*segment.drops[at], *slots)


def _descendants(plan: Plan) -> Mapping[int, set[int]]:
    after: dict[int, set[int]] = {}
    for index in reversed(range(len(plan.segments))):
        after[index] = set().union(*({s} | after[s] for s in plan.segments[index].successors))
    return after
