"""Watches the memory of the process: how much, and whether it grows with the events."""

from __future__ import annotations

import dataclasses
import os
import sys

import numpy as np

from evtfw.core.observer import Activity, JobInfo, Observer
from evtfw.observe.series import Series

_WARM_UP = 0.2  # of the samples: caches and buffers fill first
_FEWEST_SAMPLES = 10
_FEWEST_EVENTS = 10_000  # a slope over fewer says more about caches that fill than about leaks


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a job.

    Args:
        series: ``time_s``, ``events_ended`` and ``resident_bytes``.
        growth_bytes: per 10 000 events, by least squares after the warm-up; None if the job was too short to tell.
    """

    series: Series
    peak_bytes: int
    growth_bytes: float | None


def resident_bytes() -> int:
    """Resident set size of this process; where there is no ``/proc``, its peak so far."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class MemoryObserver(Observer):
    """Samples the resident memory at every tick; costs nothing per event."""

    def begin_job(self, job: JobInfo) -> None:
        """See `Observer.begin_job`."""
        self._start_ns = job.start_ns
        self._series = Series(["events_ended", "resident_bytes"])
        self._peak_bytes = resident_bytes()
        self._series.add(0.0, [0, self._peak_bytes])

    def tick(self, activity: Activity) -> None:
        """See `Observer.tick`."""
        size_bytes = resident_bytes()
        self._peak_bytes = max(self._peak_bytes, size_bytes)
        self._series.add((activity.time_ns - self._start_ns) * 1e-9, [activity.events_ended, size_bytes])

    def memory(self) -> Memory:
        """Return what was seen so far."""
        events, sizes = self._series["events_ended"], self._series["resident_bytes"]
        return Memory(self._series, self._peak_bytes, growth_per_10000(events, sizes))


def growth_per_10000(events: np.ndarray, sizes: np.ndarray) -> float | None:
    """Return the slope of ``sizes`` per 10 000 events after the warm-up, or None for too few samples or events.

    >>> growth_per_10000(np.arange(20) * 1000.0, 5e6 + np.arange(20) * 1000.0 * 3)
    30000.0
    """
    first = int(len(events) * _WARM_UP)
    x, y = events[first:], sizes[first:]
    if len(x) < _FEWEST_SAMPLES or np.ptp(x) < _FEWEST_EVENTS:
        return None
    x = x - x.mean()
    return round(float(x @ (y - y.mean()) / (x @ x)) * 10_000, 3)
