"""Threads and time for a scheduler: the worker pool, the source's reader, and the main thread's watch."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from evtfw.core.clock import Clock, RealClock
from evtfw.core.executor import Task, ThreadExecutor, usable_cores
from evtfw.core.source import Chunk

if TYPE_CHECKING:
    from evtfw.core.feed import Feed
    from evtfw.core.scheduler import Scheduler

TICK_S = 0.1


class Runtime(Protocol):
    """Runs a scheduler's tasks. The scheduler itself knows neither threads nor the real time."""

    threads: int
    chains: bool
    """Whether a segment's successors run at once in the same task; otherwise each becomes a task of its own."""

    local_threads: int
    """Threads of backends that compute on this machine beside the job's own."""

    @property
    def clock(self) -> Clock:
        """The job's time."""

    def submit(self, task: Task) -> None:
        """Run the task soon."""

    @property
    def busy_threads(self) -> int:
        """Threads that run a task now."""

    def read(self, feed: Feed, chunks: Iterator[Chunk], on_error: Callable[[BaseException], None]) -> None:
        """Begin to read the source."""

    def run(self, scheduler: Scheduler) -> None:
        """Run until the scheduler's streams have all retired."""

    def finished(self) -> None:
        """All streams have retired. From any thread."""

    def statistics(self) -> dict[str, float]:
        """What was measured of the runtime itself."""


@dataclasses.dataclass(slots=True)
class _LockWatch:
    """Estimates from samples whether the interpreter's lock bounds the job."""

    samples: int = 0
    bound: int = 0
    cpu_s: float = 0.0
    at_s: float = 0.0

    def look(self, busy: int) -> None:
        """Several busy threads that together use no more than about one core wait for a lock."""
        cpu_s, at_s = time.process_time(), time.perf_counter()
        if self.at_s and at_s > self.at_s:
            cores = (cpu_s - self.cpu_s) / (at_s - self.at_s)
            self.samples += 1
            self.bound += busy >= 2 and 0.7 < cores < 1.2
        self.cpu_s, self.at_s = cpu_s, at_s


class ThreadedRuntime:
    """A pool of threads and the real clock.

    Args:
        threads: workers at most.
        on_idle: called by a worker that finds no task.
    """

    chains = True
    local_threads = 0

    def __init__(self, threads: int, on_idle: Callable[[], None]) -> None:
        self.clock = RealClock()
        self.threads = threads
        self._executor = ThreadExecutor(threads, on_idle, self._crashed)
        self.submit = self._executor.submit
        self._finished = threading.Event()
        self._crash: BaseException | None = None
        self._reader: threading.Thread | None = None
        self._watch = _LockWatch()
        self._workers_cpu_s: float | None = None

    def _crashed(self, error: BaseException) -> None:
        self._crash = error
        self._finished.set()

    @property
    def busy_threads(self) -> int:
        """Threads that run a task now."""
        return self._executor.busy_count

    def read(self, feed: Feed, chunks: Iterator[Chunk], on_error: Callable[[BaseException], None]) -> None:
        """Read the source in a thread of its own."""
        self._reader = threading.Thread(target=feed.read, args=(chunks, on_error), name="evtfw-source", daemon=True)
        self._reader.start()

    def run(self, scheduler: Scheduler) -> None:
        """Run to the end; the main thread only watches, so that signals are handled at once."""
        for stream in scheduler.streams:
            self.submit(stream.run)
        self._executor.start(self.local_threads)
        while not self._finished.wait(TICK_S):
            scheduler.look()
            self._executor.adjust()
            self._watch.look(self.busy_threads)
            scheduler.observers.tick(scheduler.activity())
        if self._crash is not None:
            raise self._crash
        self._workers_cpu_s = self._executor.cpu_s()
        self._executor.join()
        if self._reader is not None:
            self._reader.join()
        scheduler.observers.tick(scheduler.activity())

    def finished(self) -> None:
        """See `Runtime.finished`."""
        self._finished.set()

    def statistics(self) -> dict[str, float]:
        """Busy and CPU time of the workers, their number, and whether the interpreter's lock bounded the job."""
        watch = self._watch
        has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
        cpu = {} if self._workers_cpu_s is None else {"workers_cpu_s": self._workers_cpu_s}
        return {
            **cpu,
            "busy_s": self._executor.busy_s(),
            "active_threads": float(len(self._executor.workers)),
            "cores": float(usable_cores()),
            "gil_bound": float(has_lock and watch.samples >= 5 and watch.bound > watch.samples / 2),
        }
