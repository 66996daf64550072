"""Trying modules without files and services: one module on one event, or a whole job on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evtfw.core.declare import Input, Output
from evtfw.core.errors import ConfigurationError, nearest
from evtfw.core.event import Absent
from evtfw.core.job import Job
from evtfw.core.module import Analyzer, Module, OutputModule
from evtfw.core.process import EndPath, Path, Process
from evtfw.core.simulation import SimulatedRuntime, VirtualClock
from evtfw.core.source import Chunk, ColumnInfo, Source

__all__ = ["ListSource", "SimulatedRuntime", "VirtualClock", "run_module"]


class ListColumn:
    """A column of arbitrary Python objects."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __getitem__(self, row: int) -> Any:
        return self._values[row]


class ListSource(Source):
    """Gives events from lists in memory: ``ListSource.of([{"x": 1}, {"x": 2}])``.

    Events are numbered from 1, in run 1; ``events_per_lumi`` of them form a luminosity block.
    """

    rows: Sequence[Mapping[str, Any]]
    events_per_lumi = 10

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], events_per_lumi: int = 10) -> Source:
        """Make the source of a process from one mapping (column to value) per event; all have the same columns."""
        made = type("ListSource", (cls,), {"rows": rows, "events_per_lumi": events_per_lumi})
        return made()  # type: ignore[no-any-return]

    def columns(self) -> Mapping[str, ColumnInfo]:
        """See `Source.columns`."""
        return {name: ColumnInfo(object) for name in (self.rows[0] if self.rows else ())}

    def event_count(self) -> int:
        """See `Source.event_count`."""
        return len(self.rows)

    def chunks(self, columns: Sequence[str], first: int, count: int | None) -> Iterator[Chunk]:
        """See `Source.chunks`."""
        rows = self.rows[first : None if count is None else first + count]
        if rows:
            numbers = np.arange(first, first + len(rows))
            data = {name: ListColumn([row[name] for row in rows]) for name in columns}
            yield Chunk(np.ones_like(numbers), numbers // self.events_per_lumi + 1, numbers + 1, data, "memory", first)


def run_module(
    module: Module, inputs: Mapping[str, Any] | None = None, events: int | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Run one module as a job would, on a virtual clock, and return its outputs by name.

    Args:
        module: a description, e.g. ``JetSelector(pt_min_gev=300)``.
        inputs: the product for each of its inputs, by the input's name; for ``events`` events a list of them each.
        events: number of events; None for one, with plain values in ``inputs`` and in what is returned. A
            `BulkProducer` gets all of them at once.
        seed: of the order in which the simulated job runs its tasks.

    Returns:
        For each output its product (None where it was not put), for filters also ``passed``. With ``events``, lists.

    Raises:
        ConfigurationError: for wrong parameters or inputs.
        EvtfwError: whatever the module's failure was turned into; the module's own exception is its ``__cause__``.
    """
    inputs = dict(inputs or {})
    declared = type(module).declared(Input)
    unknown = [f"{type(module).__name__} has no input '{n}'{nearest(n, declared)}" for n in inputs if n not in declared]
    if unknown:
        raise ConfigurationError(unknown)
    rows = [inputs] if events is None else [{k: v[i] for k, v in inputs.items()} for i in range(events)]
    references: dict[str, str | None] = {n: None for n, d in declared.items() if d.optional and d.scope == "event"}
    references.update({name: f"source:{name}" for name in inputs})
    process = Process("TEST")
    process.source = ListSource.of(rows or [{}], events_per_lumi=max(1, len(rows)))
    process.module = module.clone(**references)
    process.recorder = recorder = _make_recorder(type(module))
    if isinstance(module, (Analyzer, OutputModule)):
        process.end = EndPath(process.module)
    else:
        process.path = Path(process.module)
    process.record = EndPath(process.recorder)
    process.set_options(max_events=len(rows), bulk_events=max(1, len(rows)))
    result = Job(process, runtime=SimulatedRuntime(seed)).run()
    if result.error is not None:
        raise result.error
    recorded = type(recorder).recorded  # type: ignore[attr-defined]
    outputs: dict[str, list[Any]] = {
        name: [recorded[i][name] for i in range(len(rows))] for name in recorded.get(0, {})
    }
    return {k: v[0] for k, v in outputs.items()} if events is None else dict(outputs)


def _make_recorder(cls: type[Module]) -> OutputModule:
    """Make an output that keeps what a module of this class puts."""
    names = [name for name, o in cls.declared(Output).items() if o.scope == "event"]
    is_filter = cls.kind == "filter"
    recorded: dict[int, dict[str, Any]] = {}

    def write(self: Any, event: Any) -> bool:
        products = {name: event[getattr(self, name)] for name in names}
        row = {name: None if product.__class__ is Absent else product for name, product in products.items()}
        if is_filter:
            row["passed"] = event[self.trigger_results]["path"]
        recorded[event.index] = row
        return True

    members: dict[str, Any] = {name: Input("recorded", default=f"module:{name}", optional=True) for name in names}
    return type("Recorder", (OutputModule,), {**members, "write": write, "recorded": recorded})()  # type: ignore[no-any-return]
