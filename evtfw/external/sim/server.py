"""Servers in parallel and the queue before them, on the clock of the job; no thread of its own."""

from __future__ import annotations

import functools
import heapq
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from evtfw.core.clock import Clock, Timer
from evtfw.core.errors import EvtfwError, ExternalError, ServerUnavailable
from evtfw.external.errors import Overloaded
from evtfw.external.sim.faults import NEVER_NS, Outage

_FEW: Final = 64


class Job:
    """What a server works on. Subclasses say what happens when it starts and ends; `Servers` calls them one at a time.

    Args:
        priority: larger is served earlier.
        service_ns: how long it holds a server; `NEVER_NS`: until it is given up.
        network_ns: after that, until `answer` is called.
    """

    __slots__ = (
        "__weakref__",
        "arrived_ns",
        "finished_ns",
        "network_ns",
        "priority",
        "servers",
        "service_ns",
        "started_ns",
        "state",
        "timer",
    )

    def __init__(self, servers: Servers, priority: int, service_ns: int, network_ns: int) -> None:
        self.servers = servers
        self.priority = priority
        self.service_ns = service_ns
        self.network_ns = network_ns
        self.arrived_ns = self.started_ns = self.finished_ns = 0
        self.state = "new"
        self.timer: Timer | None = None

    def cancel(self) -> None:
        """Leave the queue or free the server, from any thread; see `evtfw.core.completion.Cancellable`."""
        self.servers.post(functools.partial(self.servers.give_up, self))

    def start(self) -> None:
        """A server took it."""

    def answer(self) -> None:
        """It is done."""

    def refuse(self, error: EvtfwError) -> None:
        """It will not be done."""

    def forget(self) -> None:
        """It was given up: nobody wants to hear of it."""

    def is_useless(self, now_ns: int) -> bool:
        """Whether no server should begin with it; it has told whoever waits why, if anybody does."""
        return False


class Servers:
    """Takes jobs in order of priority, and of arrival where that is equal.

    All that happens is done by one thread at a time, and nobody waits for it: who finds it busy leaves the step to it.
    A job that calls back from inside can come from any depth.

    Args:
        clock: tells when jobs end.
        name: for messages.
        count: jobs at the same time; 0: as many as there are.
        queue_limit: jobs that wait at most, beyond which `Overloaded` is the answer; None: no limit.
        outage: when it is down, counted from now.
    """

    def __init__(
        self, clock: Clock, name: str, *, count: int = 0, queue_limit: int | None = None, outage: Outage | None = None
    ) -> None:
        self._clock = clock
        self._name = name
        self._count = count
        self._queue_limit = queue_limit
        self._outage = outage or Outage()
        self._opened_ns = clock.now_ns()
        self._steps: deque[Callable[[], None]] = deque()
        self._working = threading.Lock()
        self._queue: list[tuple[int, int, Job]] = []
        self._number = 0
        self._held: dict[Job, None] = {}  # jobs being worked on or on their way back, in order
        self._is_closed = False
        self.waiting = 0
        self.longest_queue = 0
        self.busy = 0
        self.busy_ns = 0

    def post(self, step: Callable[[], None]) -> None:
        """Do a step as soon as those before it are done; it must not raise."""
        self._steps.append(step)
        while self._steps:
            if not self._working.acquire(blocking=False):
                return  # who holds it looks again after releasing
            try:
                while self._steps:
                    self._steps.popleft()()
            finally:
                self._working.release()

    def submit(self, job: Job) -> None:
        """Take a job; never blocks."""
        self.post(functools.partial(self._arrive, job))

    def close(self) -> None:
        """Refuse all that is not done."""
        self.post(self._close)

    def _now_ns(self) -> int:
        return self._clock.now_ns() - self._opened_ns

    def _down(self, now_ns: int) -> ServerUnavailable | None:
        if self._outage.when_down == "refuse" and self._outage.is_down(now_ns):
            return ServerUnavailable(
                f"{self._name} is down {now_ns * 1e-9:.3f} s after it was opened, as was asked for"
            )
        return None

    def _arrive(self, job: Job) -> None:
        if job.state != "new":
            return
        job.arrived_ns = now_ns = self._now_ns()
        error: EvtfwError | None = self._down(now_ns)
        if self._is_closed:
            error = ExternalError(f"{self._name} is not open")
        elif error is None and self._is_free:
            self._start(job, now_ns)
            return
        elif error is None and self._queue_limit is not None and self.waiting >= self._queue_limit:
            error = Overloaded(f"{self._name}: {self.waiting} requests wait already, which is its limit")
        if error is not None:
            job.state = "over"
            job.refuse(error)
            return
        job.state = "waiting"
        self._number += 1
        heapq.heappush(self._queue, (-job.priority, self._number, job))
        self.waiting += 1
        self.longest_queue = max(self.longest_queue, self.waiting)

    @property
    def _is_free(self) -> bool:
        return not self._count or self.busy < self._count

    def _start(self, job: Job, now_ns: int) -> None:
        self.busy += 1
        self._held[job] = None
        job.state, job.started_ns = "working", now_ns
        job.start()
        finish_ns, is_broken = self._outage.finish_ns(now_ns, job.service_ns)
        finish = functools.partial(self._finish, job, is_broken)
        if finish_ns < NEVER_NS:
            self._later(job, finish_ns - now_ns, finish)

    def _later(self, job: Job, delay_ns: int, step: Callable[[], None]) -> None:
        if delay_ns:
            job.timer = self._clock.call_later(delay_ns * 1e-9, functools.partial(self.post, step))
        else:
            self._steps.append(step)  # a step is being done now, and the next after it

    def _finish(self, job: Job, is_broken: bool) -> None:
        if job.state != "working":
            return
        now_ns = self._leave(job)
        job.finished_ns = now_ns
        if is_broken:
            self._end(job)
            job.refuse(ServerUnavailable(f"{self._name} went down while it worked on the request, as was asked for"))
            self._start_next(now_ns)
            return
        self._start_next(now_ns)
        job.state = "returning"
        self._later(job, job.network_ns, functools.partial(self._return, job))

    def _leave(self, job: Job) -> int:
        """Free the job's server; return the time."""
        now_ns = self._now_ns()
        self.busy -= 1
        self.busy_ns += now_ns - job.started_ns
        return now_ns

    def _end(self, job: Job) -> None:
        job.state = "over"
        self._held.pop(job, None)
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None

    def _return(self, job: Job) -> None:
        if job.state == "returning":
            self._end(job)
            job.answer()

    def _start_next(self, now_ns: int) -> None:
        while self.waiting and self._is_free:
            job = heapq.heappop(self._queue)[2]
            if job.state != "waiting":
                continue
            self.waiting -= 1
            error = self._down(now_ns)
            if error is not None:
                job.state = "over"
                job.refuse(error)
            elif job.is_useless(now_ns + self._opened_ns):
                job.state = "over"
            else:
                self._start(job, now_ns)

    def give_up(self, job: Job) -> None:
        """Leave the queue or free the server; a step for `post`."""
        if job.state == "waiting":
            job.state = "over"
            self.waiting -= 1
            if len(self._queue) > 2 * self.waiting + _FEW:  # those given up are skipped later, unless they are many
                self._queue = [entry for entry in self._queue if entry[2].state == "waiting"]
                heapq.heapify(self._queue)
        elif job.state in ("working", "returning"):
            was_working = job.state == "working"
            self._end(job)
            if was_working:
                self._start_next(self._leave(job))
        elif job.state in ("new", "due"):
            job.state = "over"
        else:
            return
        job.forget()

    def _close(self) -> None:
        self._is_closed = True
        left = [
            *self._held,
            *(entry[2] for entry in sorted(self._queue, key=lambda e: e[:2]) if entry[2].state == "waiting"),
        ]
        self._queue.clear()
        self.waiting = 0
        for job in left:
            if job.state == "working":
                self._leave(job)
            self._end(job)
            job.refuse(ExternalError(f"{self._name} was closed before it answered"))
