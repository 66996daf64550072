"""From a process to all that a job needs: bound modules, schedule, plan. All mistakes are reported together."""

from __future__ import annotations

import dataclasses

from evtfw.core.binding import Binder, BoundModule, open_source
from evtfw.core.errors import ConfigurationError, InputError
from evtfw.core.executor import usable_cores
from evtfw.core.instances import make_instance
from evtfw.core.module import Module
from evtfw.core.observer import JobInfo
from evtfw.core.plan import Plan, make_plan
from evtfw.core.process import Process
from evtfw.core.schedule import Schedule, make_schedule
from evtfw.core.selection import Selection
from evtfw.core.source import Source


@dataclasses.dataclass(slots=True)
class Compiled:
    """A process without mistakes, ready to be run.

    Args:
        threads, streams: as asked for, or chosen.
    """

    process: Process
    binder: Binder
    schedule: Schedule
    plan: Plan
    source: Source
    selection: Selection
    threads: int
    streams: int

    def info(self, start_ns: int) -> JobInfo:
        """What observers are told."""
        return JobInfo(
            self.process.name,
            self.plan.node_infos(),
            tuple(tuple(segment.nodes) for segment in self.plan.segments),
            {path.name: path.labels for path in self.plan.paths},
            self.threads,
            self.streams,
            self._events_expected(),
            start_ns,
        )

    def _events_expected(self) -> int | None:
        known, options = self.source.event_count(), self.process.options
        if options.events or options.lumi_mask is not None:
            return None
        if known is not None:
            known = max(0, known - options.skip_events)
        limits = [n for n in (known, options.max_events) if n is not None]
        return min(limits, default=None)


def compile_process(process: Process) -> Compiled:
    """Compile a process.

    Raises:
        ConfigurationError: with all mistakes.
        InputError: if the source cannot be opened and nothing else is wrong.
    """
    binder = Binder(process)
    source, source_error = None, None
    try:
        source = open_source(binder, _make_source)
        if source is not None:
            binder.add_source_columns(source.columns())
    except InputError as error:
        source_error = error
    if source is not None and source_error is None:
        binder.resolve_inputs()
    schedule = make_schedule(process, binder) if source is not None and source_error is None else None
    selection = _selection(process, binder)
    if source_error is not None:
        if not binder.problems:
            raise source_error
        binder.problems.append(str(source_error))
    if binder.problems or schedule is None or source is None:
        raise ConfigurationError(dict.fromkeys(binder.problems))
    options = process.options
    in_bulk = options.bulk_events != 1 and options.max_bytes_in_flight is None
    plan = make_plan(binder, schedule, in_bulk=in_bulk)
    threads = process.options.threads or usable_cores()
    streams = process.options.streams or threads * (8 if plan.externals else 1)
    return Compiled(process, binder, schedule, plan, source, selection, threads, streams)


def _make_source(module: BoundModule) -> Module:
    return make_instance(module, lambda _: 0, 0)


def _selection(process: Process, binder: Binder) -> Selection:
    try:
        return Selection.from_options(process.options)
    except ConfigurationError as error:
        binder.problems += error.problems
        return Selection()
