"""Opening servers: all together at the start, and later, in the background, those that could not be reached."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

from evtfw.core.clock import Timer
from evtfw.core.errors import ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend

FIRST_S: Final = 2.0
LONGEST_S: Final = 60.0
_JITTER: Final = 0.25


def open_all(backends: Sequence[Backend], context: JobContext) -> list[BaseException | None]:
    """Open all at the same time and return for each the error, or None."""
    outcomes: list[BaseException | None] = [None] * len(backends)

    def open_one(number: int) -> None:
        outcomes[number] = try_open(backends[number], context)

    threads = [
        threading.Thread(target=open_one, args=(number,), name=f"evtfw-open-{number}", daemon=True)
        for number in range(1, len(backends))
    ]
    for thread in threads:
        thread.start()
    open_one(0)
    for thread in threads:
        thread.join()
    return outcomes


def try_open(backend: Backend, context: JobContext) -> BaseException | None:
    """Open one. Returns the error, after closing it, or None."""
    try:
        backend.open(context)
    except BaseException as error:
        backend.close()
        return error
    return None


class Helper:
    """A daemon thread for what may take long, started with the first piece of work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], object]) -> None:
        """Call ``work()`` in the thread, after what was given before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._work.put(work)

    def stop(self) -> None:
        """End after what was given, without waiting for it."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work


class Reopener:
    """Tries from time to time to open those that could not be reached at the start, one at a time, in the background.

    The pauses double from 2 s to a minute, give or take a quarter. Backends are named by their place in ``backends``.

    Args:
        backends: all of the owner's.
        context: the job's.
        joined: called in the background when one is open, to use it; raises if it does not fit.
        failed: called in the background with the error of each further try.
        random_source: for the pauses.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        context: JobContext,
        joined: Callable[[int], object],
        failed: Callable[[int, ExternalError], object],
        random_source: random.Random,
    ) -> None:
        self._backends = backends
        self._context = context
        self._joined = joined
        self._failed = failed
        self._random = random_source
        self._helper = Helper("evtfw-reopen")
        self._lock = threading.Lock()
        self._timers: dict[int, Timer] = {}
        self._opening: set[int] = set()
        self._is_closed = False

    def later(self, number: int, failures: int = 0) -> None:
        """Try one after a pause. The more failures, the longer."""
        delay_s = min(LONGEST_S, FIRST_S * 2.0 ** min(failures, 10)) * self._random.uniform(1 - _JITTER, 1 + _JITTER)
        with self._lock:
            if not self._is_closed:
                due = functools.partial(self._due, number, failures)
                self._timers[number] = self._context.clock.call_later(delay_s, due)

    def close(self) -> None:
        """Try nothing any more, and close all backends; one that is being opened now is closed when that has ended."""
        with self._lock:
            self._is_closed = True
            opening = set(self._opening)
        for timer in self._timers.values():
            timer.cancel()
        self._helper.stop()
        for number, backend in enumerate(self._backends):
            if number not in opening:
                backend.close()

    def _due(self, number: int, failures: int) -> None:
        with self._lock:
            if not self._is_closed:
                self._opening.add(number)
                self._helper.run(functools.partial(self._try, number, failures))

    def _try(self, number: int, failures: int) -> None:
        """Run by the helper."""
        backend = self._backends[number]
        error = try_open(backend, self._context) or self._use(number)
        with self._lock:
            self._opening.discard(number)
        if self._is_closed:
            backend.close()
        elif isinstance(error, ExternalError):
            self._failed(number, error)
            self.later(number, failures + 1)
        elif error is not None:
            self._context.say(f"{backend.url} is not used: {error}")

    def _use(self, number: int) -> BaseException | None:
        """Let the owner use it. Returns why it cannot, after closing it."""
        try:
            if not self._is_closed:
                self._joined(number)
        except Exception as error:
            self._backends[number].close()
            return error
        return None
