"""Time as the framework sees it: monotonic nanoseconds and timers, so that a virtual clock can replace both."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol


class Timer(Protocol):
    """A callback that was asked for and has not happened yet."""

    def cancel(self) -> None:
        """Do not call it any more. Harmless if it was called already."""


class Clock(Protocol):
    """Monotonic time and timers."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back."""

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` after ``delay_s`` seconds, from any thread. It must be short and must not raise."""


_IDLE_S: Final = 1.0


class _RealTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class RealClock:
    """The machine's monotonic clock; timers share one daemon thread, which ends when there is none for a while."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[int, int, _RealTimer]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    now_ns = staticmethod(time.monotonic_ns)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """See `Clock.call_later`."""
        timer = _RealTimer(callback)
        due_ns = time.monotonic_ns() + int(delay_s * 1e9)
        with self._condition:
            heapq.heappush(self._heap, (due_ns, next(self._order), timer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="evtfw-timer", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is timer:
                self._condition.notify()
        return timer

    def _run(self) -> None:
        while True:
            with self._condition:
                while self._heap and self._heap[0][2].callback is None:
                    heapq.heappop(self._heap)
                if not self._heap:
                    if not self._condition.wait(_IDLE_S) and not self._heap:
                        self._thread = None
                        return
                    continue
                due_ns, _, timer = self._heap[0]
                wait_ns = due_ns - time.monotonic_ns()
                if wait_ns > 0:
                    self._condition.wait(min(wait_ns * 1e-9, _IDLE_S))  # cancelling wakes nobody
                    continue
                heapq.heappop(self._heap)
                callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
