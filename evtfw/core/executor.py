"""Who runs the scheduler's tasks: a pool of threads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

Task = Callable[[], None]


class Executor(Protocol):
    """Runs tasks, in any order and on any thread."""

    def submit(self, task: Task) -> None:
        """Run the task soon. From any thread; does not block."""


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

    It starts with a worker per core, at most ``threads``. Further ones are started only when workers are found blocked
    (busy, but without CPU time) while tasks wait: on an interpreter with a global lock, more threads than cores cost
    time.

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
        for _ in range(min(threads, usable_cores())):
            self._add_worker()

    def start(self) -> None:
        """Start the workers."""
        for worker in list(self.workers):
            worker.thread.start()

    def _add_worker(self) -> _Worker:
        thread = threading.Thread(
            target=self._work, args=(len(self.workers),), name=f"evtfw-{len(self.workers)}", daemon=True
        )
        worker = _Worker(thread)
        self.workers.append(worker)
        return worker

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
        blocked = sum(self._is_blocked(worker) for worker in self.workers)
        running = len(self.workers) - blocked
        if blocked and not self._queue.empty() and len(self.workers) < self.threads and running < usable_cores():
            self._add_worker().thread.start()

    def _is_blocked(self, worker: _Worker) -> bool:
        """Whether the worker was in one task since the last look and hardly used its core."""
        used_ns, worker.cpu_ns = worker.cpu_ns, thread_cpu_ns(worker.thread)
        since_ns = worker.busy_since_ns
        if not since_ns or worker.cpu_ns < 0:
            return False
        busy_for_ns = time.perf_counter_ns() - since_ns
        return busy_for_ns > 50_000_000 and worker.cpu_ns - used_ns < 5_000_000

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
