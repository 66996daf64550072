"""A runtime without threads: tasks run one at a time in a seeded random order, on a virtual clock.

The same scheduler, streams and modules as in a real job, but each run is repeatable and takes no real time: for tests
of concurrency, and for simulations of services with many clients.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from evtfw.core.clock import Timer
from evtfw.core.errors import InternalError
from evtfw.core.executor import Task
from evtfw.core.source import Chunk

if TYPE_CHECKING:
    from evtfw.core.feed import Feed
    from evtfw.core.scheduler import Scheduler


REAL_WAIT_S = 60.0
"""How long a backend with threads of its own may really take."""


class _VirtualTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Time that goes on only when it is told to.

    >>> clock = VirtualClock()
    >>> _ = clock.call_later(0.5, lambda: print("half a second"))
    >>> clock.advance()
    half a second
    True
    >>> clock.now_ns()
    500000000
    """

    def __init__(self) -> None:
        self._now_ns = 0
        self._heap: list[tuple[int, int, _VirtualTimer]] = []
        self._order = itertools.count()

    def now_ns(self) -> int:
        """Virtual nanoseconds since the start."""
        return self._now_ns

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """See `Clock.call_later`."""
        timer = _VirtualTimer(callback)
        heapq.heappush(self._heap, (self._now_ns + int(delay_s * 1e9), next(self._order), timer))
        return timer

    def next_due_ns(self) -> int | None:
        """When the next timer is due."""
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def advance(self, limit_ns: int | None = None) -> bool:
        """Go on to the next timer and call it, but not beyond ``limit_ns``. False if there was none before that."""
        due_ns = self.next_due_ns()
        if due_ns is None or (limit_ns is not None and due_ns > limit_ns):
            self._now_ns = max(self._now_ns, limit_ns or 0)
            return False
        _, _, timer = heapq.heappop(self._heap)
        self._now_ns = max(self._now_ns, due_ns)
        callback, timer.callback = timer.callback, None
        if callback is not None:
            callback()
        return True


class SimulatedRuntime:
    """Runs tasks in an order drawn from ``seed``.

    Args:
        seed: of the order of tasks.
        threads: what the job is told; tasks run one at a time all the same.
        chains: False makes every segment a task of its own, for the finest interleaving.
    """

    def __init__(self, seed: int = 0, *, threads: int = 2, chains: bool = False) -> None:
        self.clock = VirtualClock()
        self.threads = threads
        self.chains = chains
        self.busy_threads = 0
        self.local_threads = 0
        self._random = random.Random(seed)
        self._tasks: list[Task] = []
        self._arrived = threading.Event()
        self._is_finished = False
        self.on_idle: Callable[[], None] = lambda: None
        self.tasks_run = 0

    def submit(self, task: Task) -> None:
        """Run the task some time. From any thread: a local backend answers from threads of its own."""
        self._tasks.append(task)
        self._arrived.set()

    def read(self, feed: Feed, chunks: Iterator[Chunk], on_error: Callable[[BaseException], None]) -> None:
        """The feed reads a chunk when a stream finds none, or when its task is drawn."""

        def pull() -> None:
            try:
                if not feed.is_stopped and feed.read_one(chunks):
                    return
            except Exception as error:
                on_error(error)
            feed.complete()

        feed.pull = pull

    def run(self, scheduler: Scheduler) -> None:
        """Run to the end of all streams.

        Raises:
            InternalError: if nothing can go on although streams have not ended.
        """
        for stream in scheduler.streams:
            self.submit(stream.run)
        while not self._is_finished:
            if scheduler.is_stopping:
                scheduler.look()
            if self._tasks:
                self._run_one()
            elif not self._pass_time(scheduler):
                states = "; ".join(f"stream {s.number}: {s.segments_left} segments left" for s in scheduler.streams)
                raise InternalError(f"the job cannot go on: {states}")
        scheduler.observers.tick(scheduler.activity())

    def _run_one(self) -> None:
        index = self._random.randrange(len(self._tasks))
        self._tasks[index], self._tasks[-1] = self._tasks[-1], self._tasks[index]
        self.tasks_run += 1
        self._tasks.pop()()

    def _pass_time(self, scheduler: Scheduler) -> bool:
        """Nothing is ready: flush what is being collected, then go on to the next timer or deadline."""
        self.on_idle()
        if self._tasks:
            return True
        deadline_ns = scheduler.next_deadline_ns()
        if deadline_ns is not None and self._wait_for_threads():
            return True
        if self.clock.next_due_ns() is None and deadline_ns is None:
            return False
        if not self.clock.advance(deadline_ns):
            scheduler.look()
        return True

    def _wait_for_threads(self) -> bool:
        """A local backend computes in real time: give it some before virtual time goes on. True if something came."""
        if not self.local_threads:
            return False
        self._arrived.clear()
        return bool(self._tasks) or self._arrived.wait(REAL_WAIT_S)

    def finished(self) -> None:
        """See `Runtime.finished`."""
        self._is_finished = True

    def statistics(self) -> dict[str, float]:
        """Number of tasks run."""
        return {"tasks": float(self.tasks_run)}
