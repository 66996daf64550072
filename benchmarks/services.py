"""Services that take time or a thread, without computing anything; modules that use them, and modules that compute."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ClassVar, Protocol, Self

from evtfw import Completion, Event, ExternalWorkModule, Input, Output, Parameter, Producer


class Resolvable(Protocol):
    """Something that waits for a reply."""

    def resolve(self, reply: Any) -> bool: ...


class Service:
    """Answers requests in one thread, in their order, ``latency_s`` after they came.

    All requests take equally long, so a queue does for a heap. With ``tick_s`` they become due together at multiples of
    it, up to a tick late, so that the thread does not have to wake up for each.

    Attributes:
        lateness_ns: for each request, how long after it was due it was answered, if ``keeps_lateness``.
    """

    def __init__(self, latency_s: float = 0.0, *, tick_s: float = 1e-9, keeps_lateness: bool = False) -> None:
        self._latency_ns = int(latency_s * 1e9)
        self._tick_ns = max(1, int(tick_s * 1e9))
        self._queue: SimpleQueue[tuple[int, Resolvable] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="service", daemon=True)
        self.lateness_ns: list[int] = []
        self._keeps_lateness = keeps_lateness

    def submit(self, done: Resolvable) -> None:
        due_ns = time.perf_counter_ns() + self._latency_ns
        self._queue.put((due_ns + -due_ns % self._tick_ns, done))

    def _serve(self) -> None:
        get, clock = self._queue.get, time.perf_counter_ns
        while (request := get()) is not None:
            due_ns, done = request
            wait_ns = due_ns - clock() if self._latency_ns else 0
            if wait_ns > 0:
                time.sleep(wait_ns * 1e-9)
            if self._keeps_lateness:
                self.lateness_ns.append(clock() - due_ns)
            done.resolve(1)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()


class Ordinary(Producer):
    """Puts a number: what an external-work module is compared with."""

    number = Output[int]("always 1")

    def produce(self, event: Event) -> None:
        event[self.number] = 1


class AnsweredAtOnce(ExternalWorkModule):
    """Its reply is there before acquire returns."""

    number = Output[int]("the reply")

    def acquire(self, event: Event, done: Completion) -> None:
        done.resolve(1)

    def produce(self, event: Event, reply: int) -> None:
        event[self.number] = reply


class AskingService(ExternalWorkModule):
    """Hands its request to a `Service`. Make a class for each with `asking`."""

    service: ClassVar[Service]
    number = Output[int]("the reply")

    def acquire(self, event: Event, done: Completion) -> None:
        self.service.submit(done)

    def produce(self, event: Event, reply: int) -> None:
        event[self.number] = reply


def asking(service: Service) -> type[AskingService]:
    """Make the class of modules that ask this service."""
    return type("AskingService", (AskingService,), {"service": service})


class LockFreeWork(Producer):
    """Computes without the interpreter's lock when its input is there."""

    rounds = Parameter[int]("rounds of hashing")
    number = Input[object]("what to wait for")
    digest = Output[bytes]("the hash")

    def produce(self, event: Event) -> None:
        event[self.digest] = hash_rounds(self.rounds)


class PythonWork(Producer):
    """Computes in Python, with the interpreter's lock."""

    rounds = Parameter[int]("rounds of a loop")
    total = Output[int]("the sum")

    def produce(self, event: Event) -> None:
        event[self.total] = sum_rounds(self.rounds)


def hash_rounds(rounds: int) -> bytes:
    """PBKDF2: no memory traffic, and OpenSSL runs all of it without the interpreter's lock."""
    return hashlib.pbkdf2_hmac("sha256", b"password", b"salt", rounds)


def sum_rounds(rounds: int) -> int:
    total = 0
    for i in range(rounds):
        total += i & 7
    return total


@functools.cache
def rounds_for(work: Callable[[int], object], seconds: float) -> int:
    """How many rounds of ``work`` take so long on this machine, undisturbed (the fastest of several tries)."""
    rounds = 1000
    fastest_s = float("inf")
    for _ in range(30):
        start_s = time.perf_counter()
        work(rounds)
        fastest_s = min(fastest_s, time.perf_counter() - start_s)
    return max(1, round(rounds * seconds / fastest_s))
