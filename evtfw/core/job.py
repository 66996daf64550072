"""A job: a process compiled and run to its end, and what came of it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evtfw.core.accounting import PathCount
from evtfw.core.compile import Compiled, compile_process
from evtfw.core.errors import EvtfwError, ExitCode, InputError, InternalError
from evtfw.core.instances import Instances
from evtfw.core.module import OutputModule
from evtfw.core.observer import Failure, JobInfo, Observer
from evtfw.core.observers import Observers
from evtfw.core.process import Process
from evtfw.core.resource import JobContext
from evtfw.core.runtime import Runtime, ThreadedRuntime
from evtfw.core.scheduler import Scheduler
from evtfw.core.source import SkippedRange
from evtfw.core.status import describe_activity

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class FileRange:
    """Entries ``first`` to ``last`` - 1 of one input file were read."""

    origin: str
    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True)
class JobResult:
    """What a job did. The fates sum up to ``events_read``.

    Args:
        exit_code: 0 if all went well.
        error: what ended the job early, if anything.
        stopped_by: who asked it to stop early, if anybody did.
        fates: number of events by `evtfw.core.observer.Fate`.
        events_deselected: events read, but not taken because of --events, --lumi-mask or --skip-events.
        accumulators: sums by module label and name.
        statistics: further measured figures: ``busy_s`` (summed over workers), ``active_threads``, ``cores``,
            ``gil_bound``, ``source_wait_s`` (summed over streams), ``output_wait_s`` (over workers), ``start_s`` (from
            the call of run to the first event), ``lumis``, ``runs``.
    """

    exit_code: ExitCode
    error: BaseException | None
    stopped_by: str | None
    events_read: int
    events_deselected: int
    fates: Mapping[str, int]
    failures: Sequence[Failure]
    failures_count: int
    paths: Mapping[str, PathCount]
    files: Sequence[FileRange]
    skipped: Sequence[SkippedRange]
    refused_completions: int
    wall_s: float
    cpu_s: float
    accumulators: Mapping[str, Mapping[str, Any]]
    statistics: Mapping[str, float]


class Job:
    """A compiled process, ready to run once.

    Args:
        process: the configuration.
        observers: told of what happens.
        runtime: brings threads and time; by default a thread pool and the real clock.
        say: shows the user a line, e.g. which backend serves.

    Raises:
        ConfigurationError: with all that is wrong, before any event.
        InputError: if the source cannot be opened.
    """

    def __init__(
        self,
        process: Process,
        observers: Sequence[Observer] = (),
        *,
        runtime: Runtime | None = None,
        say: Callable[[str], None] = logger.info,
    ) -> None:
        self.process = process
        self._compiled: Compiled = compile_process(process)
        compiled = self._compiled
        self._runtime: Runtime = runtime if runtime is not None else ThreadedRuntime(compiled.threads, self._flush)
        if hasattr(self._runtime, "on_idle"):
            self._runtime.on_idle = self._flush
        self._say = say
        self._instances = Instances(
            compiled.binder, compiled.schedule.order, compiled.plan.slots, compiled.plan.lumi_slots, compiled.streams
        )
        self._observers = Observers(observers)
        self._scheduler = Scheduler(
            compiled.plan, self._instances, self._runtime, self._observers, process.options, compiled.streams,
            compiled.selection,
        )  # fmt: skip
        self._stopped_by: str | None = None
        self.info: JobInfo = compiled.info(self._runtime.clock.now_ns())

    def _flush(self) -> None:
        for resource in self._compiled.binder.resources.values():
            resource.flush()

    def run(self) -> JobResult:
        """Run to the end. Never raises for what modules, sources, outputs or services did: see ``result.error``."""
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        self._observers.begin_job(self.info)
        opened = self._begin()
        first_event_s = time.perf_counter() - start_s
        try:
            self._runtime.run(self._scheduler)
        except BaseException as error:
            self._scheduler.abort(error if isinstance(error, EvtfwError) else _internal(error))
        accumulators = self._end(opened)
        result = self._result(
            time.perf_counter() - start_s, time.process_time() - start_cpu_s, first_event_s, accumulators
        )
        self._observers.end_job(result)
        return result

    def stop(self, reason: str) -> None:
        """Take no further events; those in flight are finished. From any thread or a signal handler."""
        self._stopped_by = self._stopped_by or reason
        self._scheduler.stop()

    def describe_activity(self) -> str:
        """What every stream and thread is doing, with module labels and pending external requests; for SIGUSR1."""
        return describe_activity(self._scheduler, self._runtime)

    # Begin and end

    def _begin(self) -> list[Any]:
        """Start reading, open the resources, begin modules and streams; an error aborts the job."""
        scheduler, source = self._scheduler, self._compiled.source
        names = [name for _, name in self._compiled.plan.columns]
        selection = self._compiled.selection
        chunks = source.chunks(names, selection.first, selection.count)
        self._runtime.read(scheduler.feed, iter(chunks), self._source_failed)
        opened: list[Any] = []
        context = JobContext(self._runtime.clock, self._runtime.threads, self._compiled.streams, self._say)
        try:
            for resource in self._compiled.binder.resources.values():
                opened.append(resource)
                resource.open(context)
                self._runtime.local_threads += resource.local_threads
        except Exception as error:
            scheduler.abort(error if isinstance(error, EvtfwError) else _internal(error))
            return opened
        for module in self._instances.all():
            if not scheduler.transit(module, "begin_job", None, None):
                return opened
        for stream in scheduler.streams:
            for label in self._instances.of:
                module = self._instances.serving(label, stream.number)
                if not scheduler.transit(module, "begin_stream", stream.number, stream.number):
                    return opened
        return opened

    def _source_failed(self, error: BaseException) -> None:
        source = self._compiled.source
        if not isinstance(error, (EvtfwError, MemoryError)):
            described = InputError(f"the source ({type(source).__name__}) failed: {type(error).__name__}: {error}")
            described.__cause__ = error
            error = described
        self._scheduler.abort(error)

    def _end(self, opened: list[Any]) -> dict[str, dict[str, Any]]:
        scheduler = self._scheduler
        for stream in scheduler.streams:
            for label in self._instances.of:
                scheduler.transit(
                    self._instances.serving(label, stream.number), "end_stream", stream.number, stream.number
                )
        accumulators = self._accumulators()
        modules = list(self._instances.all())
        for module in sorted(modules, key=lambda m: isinstance(m, OutputModule)):  # outputs complete their files last
            if isinstance(module, OutputModule):
                module.job_failed = scheduler.error is not None
                scheduler.transit(module, "collect", accumulators, None)
            scheduler.transit(module, "end_job", None, None)
        for resource in opened:
            try:
                resource.close()
            except Exception as error:
                scheduler.abort(error if isinstance(error, EvtfwError) else _internal(error))
        return accumulators

    def _accumulators(self) -> dict[str, dict[str, Any]]:
        try:
            return self._instances.accumulators()
        except Exception as error:
            self._scheduler.abort(_internal(error))
            return {}

    def _result(
        self, wall_s: float, cpu_s: float, start_s: float, accumulators: Mapping[str, Mapping[str, Any]]
    ) -> JobResult:
        scheduler = self._scheduler
        counts, accounting = scheduler.feed.counts, scheduler.accounting
        statistics = {
            **self._runtime.statistics(),
            "source_wait_s": counts.source_wait_ns * 1e-9,
            "output_wait_s": sum(m.blocked_s for m in self._instances.all() if isinstance(m, OutputModule)),
            "start_s": start_s,
            "lumis": float(scheduler.boundaries.lumis_ended),
            "runs": float(scheduler.boundaries.runs_ended),
        }
        return JobResult(
            exit_code=self._exit_code(),
            error=scheduler.error,
            stopped_by=self._stopped_by,
            events_read=counts.taken,
            events_deselected=counts.deselected,
            fates=accounting.fates(scheduler.streams),
            failures=tuple(scheduler.failures),
            failures_count=scheduler.failures_count,
            paths=accounting.paths(scheduler.streams),
            files=tuple(FileRange(origin, *span) for origin, span in counts.ranges.items()),
            skipped=self._compiled.source.skipped,
            refused_completions=scheduler.refused,
            wall_s=wall_s,
            cpu_s=cpu_s,
            accumulators=accumulators,
            statistics=statistics,
        )

    def _exit_code(self) -> ExitCode:
        error = self._scheduler.error
        if error is None:
            return {"SIGINT": ExitCode.INTERRUPTED, "SIGTERM": ExitCode.TERMINATED}.get(
                self._stopped_by or "", ExitCode.OK
            )
        if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            return ExitCode.OUT_OF_MEMORY
        return error.exit_code if isinstance(error, EvtfwError) else ExitCode.INTERNAL


def _internal(error: BaseException) -> BaseException:
    if isinstance(error, (MemoryError, KeyboardInterrupt)):
        return error
    described = InternalError(f"{type(error).__name__}: {error} (run with --debug for the traceback)")
    described.__cause__ = error
    return described
