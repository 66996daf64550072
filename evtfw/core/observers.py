"""Passes what happens on to the observers; one that raises is switched off with a warning, never the job."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from evtfw.core.event import EventId
from evtfw.core.observer import Activity, Failure, Fate, JobInfo, Observer

logger = logging.getLogger(__name__)


class Observers(Observer):
    """All observers of a job, behind the interface of one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._all = tuple(observers)
        self._sort()

    def _sort(self) -> None:
        self._of_modules = tuple(o for o in self._all if o.wants_modules)
        self._of_events = tuple(o for o in self._all if o.wants_events)
        self.wants_modules = bool(self._of_modules)
        self.wants_events = bool(self._of_events)

    def _switch_off(self, observer: Observer, error: Exception) -> None:
        logger.warning(
            "observer %s raised %s: %s; it is switched off, the job goes on",
            type(observer).__name__, type(error).__name__, error, exc_info=logger.isEnabledFor(logging.DEBUG),
        )  # fmt: skip
        self._all = tuple(o for o in self._all if o is not observer)
        self._sort()

    def _tell(self, observers: Sequence[Observer], method: str, *arguments: Any) -> None:
        for observer in observers:
            try:
                getattr(observer, method)(*arguments)
            except Exception as error:
                self._switch_off(observer, error)

    def begin_job(self, job: JobInfo) -> None:
        """See `Observer.begin_job`."""
        self._tell(self._all, "begin_job", job)

    def end_job(self, result: Any) -> None:
        """See `Observer.end_job`."""
        self._tell(self._all, "end_job", result)

    def event_started(self, stream: int, event: EventId, time_ns: int) -> None:
        """See `Observer.event_started`."""
        self._tell(self._of_events, "event_started", stream, event, time_ns)

    def event_ended(self, stream: int, event: EventId, time_ns: int, fate: Fate) -> None:
        """See `Observer.event_ended`."""
        self._tell(self._of_events, "event_ended", stream, event, time_ns, fate)

    def segment_ran(self, stream: int, segment: int, stamps_ns: list[int]) -> None:
        """See `Observer.segment_ran`. The hottest of all: no indirection."""
        for observer in self._of_modules:
            try:
                observer.segment_ran(stream, segment, stamps_ns)
            except Exception as error:
                self._switch_off(observer, error)

    def cpu_sampled(self, stream: int, segment: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """See `Observer.cpu_sampled`."""
        self._tell(self._of_modules, "cpu_sampled", stream, segment, stamps_ns, cpu_ns)

    def bulk_ran(self, stream: int, segment: int, events: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """See `Observer.bulk_ran`."""
        self._tell(self._of_modules, "bulk_ran", stream, segment, events, stamps_ns, cpu_ns)

    def replied(self, stream: int, node: int, submitted_ns: int, replied_ns: int, reply: Any) -> None:
        """See `Observer.replied`."""
        self._tell(self._of_modules, "replied", stream, node, submitted_ns, replied_ns, reply)

    def transition(self, name: str, label: str, where: str, stream: int | None, start_ns: int, end_ns: int) -> None:
        """See `Observer.transition`."""
        self._tell(self._all, "transition", name, label, where, stream, start_ns, end_ns)

    def failed(self, stream: int, failure: Failure) -> None:
        """See `Observer.failed`."""
        self._tell(self._all, "failed", stream, failure)

    def tick(self, activity: Activity) -> None:
        """See `Observer.tick`."""
        self._tell(self._all, "tick", activity)
