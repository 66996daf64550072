"""Who runs the scheduler's tasks: a pool of threads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

Task = Callable[[], None]


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A thread of the pool; its times are written by itself only."""

    __slots__ = ("busy_ns", "busy_since_ns", "cpu_ns", "thread")

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.busy_ns = 0
        self.busy_since_ns = 0
        self.cpu_ns = 0


class ThreadExecutor:
    """A pool that runs no more threads at a time than help.

    It starts with a worker for each core that nobody else computes on, at least one and at most ``threads``. While
    tasks wait, further ones are started if all workers have a core each to themselves, so that there may be another,
    or if some are blocked (busy, but without CPU time). Workers that share cores, or wait for the interpreter's lock,
    get no company: more threads would only cost time.

    Args:
        threads: workers at most.
        on_idle: called by a worker before it goes to sleep.
        on_crash: called if a task raises, which is a mistake of the framework.
    """

    def __init__(self, threads: int, on_idle: Callable[[], None], on_crash: Callable[[BaseException], None]) -> None:
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self.submit = self._queue.put
        self.threads = threads
        self._on_idle = on_idle
        self._on_crash = on_crash
        self.workers: list[_Worker] = []
        self._looked_at_ns = 0

    def start(self, busy_cores: int = 0) -> None:
        """Start the first workers; on ``busy_cores`` cores somebody else computes (a local backend)."""
        for _ in range(max(1, min(self.threads, usable_cores() - busy_cores))):
            self._start_worker()

    def _start_worker(self) -> None:
        thread = threading.Thread(
            target=self._work, args=(len(self.workers),), name=f"evtfw-{len(self.workers)}", daemon=True
        )
        self.workers.append(_Worker(thread))
        thread.start()

    def _work(self, number: int) -> None:
        worker = self.workers[number]
        queue, clock = self._queue, time.perf_counter_ns
        get, is_empty = queue.get, queue.empty
        while True:
            if is_empty():
                self._on_idle()
            task = get()
            if task is None:
                return
            worker.busy_since_ns = start_ns = clock()
            try:
                task()
            except BaseException as error:
                self._on_crash(error)
            worker.busy_since_ns = 0
            worker.busy_ns += clock() - start_ns

    def adjust(self) -> None:
        """Look at the workers, about ten times a second, and start another one if that would help."""
        now_ns = time.perf_counter_ns()
        interval_ns, self._looked_at_ns = now_ns - self._looked_at_ns, now_ns
        used = [self._cpu_since_last_look_ns(worker) for worker in self.workers]
        blocked = sum(
            worker.busy_since_ns != 0 and now_ns - worker.busy_since_ns > interval_ns / 2 and 0 <= ns < interval_ns / 20
            for worker, ns in zip(self.workers, used, strict=True)
        )
        have_cores = all(ns > 0.85 * interval_ns for ns in used)
        could_run = len(self.workers) - blocked < usable_cores() and len(self.workers) < self.threads
        if could_run and not self._queue.empty() and (blocked or have_cores):
            self._start_worker()

    def _cpu_since_last_look_ns(self, worker: _Worker) -> int:
        """CPU time of the worker since the last look, or -1 where the system does not tell."""
        before_ns, worker.cpu_ns = worker.cpu_ns, thread_cpu_ns(worker.thread)
        return worker.cpu_ns - before_ns if worker.cpu_ns >= 0 else -1

    def join(self) -> None:
        """End the workers when the queue is empty, and wait for them."""
        for _ in self.workers:
            self._queue.put(None)
        for worker in self.workers:
            worker.thread.join()

    @property
    def busy_count(self) -> int:
        """Workers that run a task now."""
        return sum(worker.busy_since_ns != 0 for worker in self.workers)

    def cpu_s(self) -> float | None:
        """CPU time of the workers, in seconds; only while they live, and None where the system does not tell."""
        times_ns = [thread_cpu_ns(worker.thread) for worker in self.workers]
        return None if any(time_ns < 0 for time_ns in times_ns) else sum(times_ns) * 1e-9

    def busy_s(self) -> float:
        """Time in tasks, summed over workers, in seconds."""
        return sum(worker.busy_ns for worker in self.workers) * 1e-9


def thread_cpu_ns(thread: threading.Thread) -> int:
    """CPU time of another thread in nanoseconds, or -1 where the system does not tell."""
    if thread.ident is None or not hasattr(time, "pthread_getcpuclockid"):
        return -1
    with contextlib.suppress(OSError):
        return time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))
    return -1
