"""A job: a process compiled and run to its end, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from evtfw.core.errors import ExitCode
from evtfw.core.observer import Failure, JobInfo, Observer
from evtfw.core.process import Process
from evtfw.core.source import SkippedRange


@dataclasses.dataclass(frozen=True, slots=True)
class PathCount:
    """What became of the events on one path."""

    accepted: int
    rejected: int
    failed: int


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
        fates: number of events by `Fate`.
        events_deselected: events read, but not taken because of --events, --lumi-mask or --skip-events.
        accumulators: sums by module label and name.
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
    """Further measured figures: ``busy_s`` (summed over workers), ``source_wait_s``, ``active_threads`` …"""


class Job:
    """A compiled process, ready to run once.

    Args:
        process: the configuration.
        observers: told of what happens.

    Raises:
        ConfigurationError: with all that is wrong, before any event.
        InputError: if the source cannot be opened.
    """

    def __init__(self, process: Process, observers: Sequence[Observer] = ()) -> None:
        raise NotImplementedError

    info: JobInfo

    def run(self) -> JobResult:
        """Run to the end. Never raises for what modules, sources, outputs or services did: see ``result.error``."""
        raise NotImplementedError

    def stop(self, reason: str) -> None:
        """Take no further events; those in flight are finished. From any thread or a signal handler."""
        raise NotImplementedError

    def describe_activity(self) -> str:
        """What every stream and thread is doing, with module labels and pending external requests; for SIGUSR1."""
        raise NotImplementedError
