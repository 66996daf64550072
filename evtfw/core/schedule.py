"""Which modules run, and when they may: paths, gates and reachability.

A module on a path runs if one of its paths reaches it, that is, if all filters before it on that path decided as
wanted. As a formula this is an *or* of *ands* of decisions: its **gate**. A module on no path runs on demand: its gate
is the *or* of its consumers' gates.
"""

from __future__ import annotations

import dataclasses
import graphlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Literal

from evtfw.core.binding import SOURCE, TRIGGER_RESULTS, Binder, BoundModule
from evtfw.core.errors import nearest
from evtfw.core.module import Decision, Filter, Module, OutputModule
from evtfw.core.process import EndPath, Path, Process, Sequence, Task

Want = Literal["pass", "reject"]
Term = frozenset[tuple[str, Want]]
"""Decisions that must all be as wanted: label of the filter, and its decision."""
Gate = frozenset[Term]
"""At least one of the terms must hold; the gate that holds the empty term is always open."""
OPEN: Gate = frozenset([frozenset()])


@dataclasses.dataclass(frozen=True, slots=True)
class PathPlan:
    """A path with its items in order.

    Args:
        steps: label of each module and the decision wanted of it, None for modules that do not decide here.
        is_end: whether it is an end path.
    """

    name: str
    steps: tuple[tuple[str, Want | None], ...]
    is_end: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of its modules."""
        return tuple(label for label, _ in self.steps)

    @property
    def term(self) -> Term:
        """The decisions with which the path accepts."""
        return frozenset((label, want) for label, want in self.steps if want is not None)


@dataclasses.dataclass(slots=True)
class Schedule:
    """What runs, in an order that respects all dependencies.

    Args:
        order: labels of the modules that run, the source excluded.
        gates: of each of them.
        waits: for each, the labels whose products or decisions it waits for.
    """

    paths: list[PathPlan]
    order: list[str]
    gates: dict[str, Gate]
    waits: dict[str, set[str]]


def simplify(gate: Iterable[Term]) -> Gate:
    """Drop the terms that another one makes superfluous.

    >>> a, ab = frozenset({("a", "pass")}), frozenset({("a", "pass"), ("b", "pass")})
    >>> simplify([ab, a]) == frozenset([a])
    True
    """
    terms = set(gate)
    return frozenset(t for t in terms if not any(other < t for other in terms))


def implies(gate: Gate, other: Gate) -> bool:
    """Whether ``other`` is open whenever ``gate`` is."""
    return all(any(weaker <= term for weaker in other) for term in gate)


def make_schedule(process: Process, binder: Binder) -> Schedule:
    """Work out the schedule; mistakes are added to ``binder.problems``."""
    paths = [_plan_path(name, s, binder) for name, s in process.sequences.items() if isinstance(s, (Path, EndPath))]
    if not paths:
        binder.problems.append("no Path or EndPath: nothing would run; write e.g. process.path = Path(process.MODULE)")
    scheduled = list(dict.fromkeys(label for p in paths for label in p.labels))
    if paths and not scheduled:
        binder.problems.append(
            f"{process.sequences[paths[0].name].location}: no path holds a module: nothing would run; write e.g. "
            f"process.{paths[0].name} = Path(process.MODULE)"
        )
    running = _reachable(scheduled, binder)
    binder.resolve_lists(running)
    running = _reachable(scheduled, binder)
    tasked = _tasked(process)
    for label, module in binder.modules.items():
        if label not in running and label not in tasked and label != SOURCE:
            binder.problems.append(
                f"{module.where}: unreachable: on no path, and nothing that runs consumes its products; put it on a "
                "Path or EndPath, in a Task (which may be unused), or delete it"
            )
    _check_selections(paths, binder)
    gates = _path_gates(paths)
    order, waits = _order(running, gates, paths, binder)
    for label in reversed(order):
        if label not in gates:
            consumers = [c for c in order if any(p.label == label for p in binder.modules[c].consumed())]
            gates[label] = simplify(term for c in consumers for term in gates.get(c, OPEN)) or OPEN
    order, waits = _order(running, gates, paths, binder, report=False)
    _check_gates(order, gates, binder)
    return Schedule(paths, order, gates, waits)


def _plan_path(name: str, path: Sequence, binder: Binder) -> PathPlan:
    steps: list[tuple[str, Want | None]] = []
    for item in path.modules():
        module = item.module if isinstance(item, Decision) else item
        label = getattr(module, "label", "")
        if label not in binder.modules:
            what = (
                f"'{label}', which the process no longer has" if label else f"a {type(module).__name__} without a label"
            )
            binder.problems.append(
                f"{path.location}: {name} holds {what}; assign it first: process.LABEL = …"
                + nearest(label, binder.modules)
            )
            continue
        module = binder.modules[label].description
        if label == SOURCE:
            binder.problems.append(f"{path.location}: {name} holds the source; it runs by itself, take it off the path")
            continue
        want: Want | None = "pass" if isinstance(module, Filter) else None
        if isinstance(item, Decision):
            want = None if item.want == "ignore" else item.want
        steps.append((label, want))
    bad = [item for item in path.items if not isinstance(item, (Module, Decision, Sequence))]
    binder.problems += [f"{path.location}: {name} holds {b!r}; items are modules, sequences and tasks" for b in bad]
    return PathPlan(name, tuple(steps), isinstance(path, EndPath))


def _check_selections(paths: Iterable[PathPlan], binder: Binder) -> None:
    """Outputs select by the names of paths (end paths have no result)."""
    names = [path.name for path in paths if not path.is_end]
    for module in binder.modules.values():
        if issubclass(module.cls, OutputModule):
            for item in module.parameters.get("select", ()):
                name = item.removeprefix("~")
                if name not in names:
                    binder.problems.append(f"{module.where}: 'select' names no path '{name}'{nearest(name, names)}")


def _tasked(process: Process) -> list[str]:
    tasks = [s for s in process.sequences.values() if isinstance(s, Task)]
    tasks += [t for s in process.sequences.values() for t in s.tasks()]
    modules = (m.module if isinstance(m, Decision) else m for t in tasks for m in t.modules())
    return list(dict.fromkeys(m.label for m in modules if hasattr(m, "label")))


def _reachable(scheduled: Iterable[str], binder: Binder) -> list[str]:
    """Labels that run: the scheduled ones and what they consume, directly or not."""
    found: dict[str, None] = {}
    todo = list(scheduled)[::-1]
    while todo:
        label = todo.pop()
        if label in found or label not in binder.modules or label == SOURCE:
            continue
        found[label] = None
        module = binder.modules[label]
        todo += [p.label for p in module.inputs.values()]
        todo += [p.label for products in module.lists.values() for p in products]
        todo += list(binder.explicit_labels(module))
    return list(found)


def _path_gates(paths: Iterable[PathPlan]) -> dict[str, Gate]:
    terms: dict[str, set[Term]] = {}
    for path in paths:
        before: set[tuple[str, Want]] = set()
        for label, want in path.steps:
            terms.setdefault(label, set()).add(frozenset(before))
            if want is not None:
                before.add((label, want))
    return {label: simplify(t) for label, t in terms.items()}


def _order(
    running: list[str],
    gates: Mapping[str, Gate],
    paths: list[PathPlan],
    binder: Binder,
    *,
    report: bool = True,
) -> tuple[list[str], dict[str, set[str]]]:
    """Order by data and gates; each cycle is reported and then cut open, so that all of them are found."""
    on_paths = {label for p in paths if not p.is_end for label in p.labels}
    waits: dict[str, set[str]] = {}
    for label in running:
        module = binder.modules[label]
        products = {p.label for scope in ("event", "lumi", "run") for p in module.consumed(scope)}
        needs = products - {SOURCE, TRIGGER_RESULTS} | {f for term in gates.get(label, OPEN) for f, _ in term}
        waits[label] = needs | (on_paths if TRIGGER_RESULTS in products else set())
    while True:
        try:
            return list(graphlib.TopologicalSorter(waits).static_order()), waits
        except graphlib.CycleError as error:
            cycle = error.args[1]
            if report:
                binder.problems.append(_describe_cycle(cycle[::-1], binder))
            waits[cycle[1]].discard(cycle[0])


def _describe_cycle(cycle: list[str], binder: Binder) -> str:
    links = []
    for label, needed in itertools.pairwise(cycle):
        reads = [p.reference for p in binder.modules[label].consumed() if p.label == needed]
        links.append(f"{label} reads {reads[0]}" if reads else f"{label} runs after filter or path module {needed}")
    return f"{binder.modules[cycle[0]].where}: cycle: {', '.join(links)}"


def _check_gates(order: Iterable[str], gates: Mapping[str, Gate], binder: Binder) -> None:
    """A consumer must not run in events in which the producer of what it needs does not."""
    for label in order:
        consumer: BoundModule = binder.modules[label]
        for name, product in consumer.required():
            made_if = gates.get(product.label, OPEN)
            if product.label in (SOURCE, TRIGGER_RESULTS) or implies(gates[label], made_if):
                continue
            missing = sorted({f for term in made_if for f, _ in term})
            binder.problems.append(
                f"{consumer.where}: input '{name}' = '{product.reference}': that module runs only behind "
                f"{', '.join(missing)}, this one also without; put the same filters before it, or take "
                f"'{product.label}' off the path so that it runs on demand"
            )
