"""Comparisons under way: the second backend is asked, and replies compared, in one thread beside the job."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from evtfw.core.clock import Clock, Timer
from evtfw.core.completion import CallbackCompletion
from evtfw.core.errors import DeadlineExceeded
from evtfw.external.contract import Backend, Reply, Request
from evtfw.external.traffic.compare import compare

TIMEOUT_S: Final = 60.0
"""A second backend that has not answered after so long will not."""
_NAMED: Final = 5


class Settings(Protocol):
    """What a comparison needs to know."""

    @property
    def rtol(self) -> float:
        """Relative tolerance."""

    @property
    def atol(self) -> float:
        """Absolute tolerance."""

    @property
    def max_outstanding(self) -> int:
        """Comparisons at the same time."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShadowStatistics:
    """Counts since `ShadowBackend.open`.

    Args:
        requests: in all.
        chosen: of which the second backend should have been asked.
        dropped: of these, not asked because too many comparisons were outstanding.
        compared: of which both replies came.
        differing: beyond the tolerances.
        main_failed: not compared because the main backend failed, or was given up.
        second_failed: not compared because the second did not answer.
        max_abs_difference, max_rel_difference: of all that was compared.
        first_differences: the first few, each with the module and event.
        first_failure: of the second backend.
    """

    requests: int = 0
    chosen: int = 0
    dropped: int = 0
    compared: int = 0
    differing: int = 0
    main_failed: int = 0
    second_failed: int = 0
    max_abs_difference: float = 0.0
    max_rel_difference: float = 0.0
    first_differences: tuple[str, ...] = ()
    first_failure: str = ""

    def text(self, main: str, second: str) -> str:
        """Return what the user is told."""
        parts = [f"{self.compared} of {self.requests} replies of {main} compared with {second}: "]
        if self.differing:
            parts.append(f"{self.differing} differ ({self.first_differences[0]})")
        else:
            parts.append("none differs" if self.compared else "nothing to tell")
        if self.max_abs_difference:
            parts.append(f", by up to {self.max_abs_difference:.3g} (relative {self.max_rel_difference:.3g})")
        if self.dropped:
            parts.append(f"; {self.dropped} left out because too many were outstanding")
        if self.second_failed:
            parts.append(f"; {self.second_failed} without a reply of the second ({self.first_failure})")
        return "".join(parts)


class Comparison:
    """One request, asked twice."""

    __slots__ = ("__weakref__", "_all", "is_over", "main", "name", "request", "second", "second_done", "timer")

    def __init__(self, comparisons: Comparisons, request: Request, name: str) -> None:
        self._all = comparisons
        self.request: Request | None = request
        self.name = name
        self.main: Reply | BaseException | None = None
        self.second: Reply | BaseException | None = None
        self.second_done: weakref.ref[CallbackCompletion] | None = None  # the second backend holds it, and may drop it
        self.timer: Timer | None = None
        self.is_over = False

    def main_ended(self, outcome: Reply | BaseException) -> None:
        """The main reply is there and was handed on."""
        if self.main is None:
            self.main = outcome
            self._all.look(self)

    def main_given_up(self) -> None:
        """Nobody waits for the main reply any more."""
        self.main_ended(DeadlineExceeded("given up"))

    def second_ended(self, reply: Any, error: BaseException | None) -> None:
        """The second reply is there."""
        if self.second is None:
            self.second = reply if error is None else error
            self._all.look(self)

    def expire(self) -> None:
        """The second reply should have been there."""
        self.second_ended(None, DeadlineExceeded(f"no reply within {TIMEOUT_S:g} s"))
        done = self.second_done() if self.second_done is not None else None
        if done is not None:
            done.cancel()


class Comparisons:
    """All comparisons of a backend, and their thread.

    Args:
        second: is asked; open.
        clock: of the job.
        settings: tolerances and limits.
    """

    def __init__(self, second: Backend, clock: Clock, settings: Settings) -> None:
        self._second = second
        self._clock = clock
        self._settings = settings
        self._counts: dict[str, Any] = dataclasses.asdict(ShadowStatistics())
        self._outstanding = 0
        self._work: deque[Callable[[], None]] = deque()
        # Re-entrant, since a completion that is garbage-collected may come back at any point.
        self._changed = threading.Condition(threading.RLock())
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="evtfw-shadow", daemon=True)
        self._thread.start()

    def takes(self, is_chosen: bool) -> bool:
        """Count a request, and return whether to compare it."""
        with self._changed:
            is_taken = is_chosen and self._outstanding < self._settings.max_outstanding
            self._outstanding += is_taken
            self._count(requests=1, chosen=int(is_chosen), dropped=int(is_chosen and not is_taken))
            return is_taken

    def begin(self, request: Request, name: str) -> Comparison:
        """Return a comparison for a request that was taken; its arrays are its own."""
        return Comparison(self, request, name)

    def ask(self, comparison: Comparison) -> None:
        """Ask the second backend some time soon."""
        self._later(lambda: self._ask(comparison))

    def look(self, comparison: Comparison) -> None:
        """Compare some time soon, if both replies are there."""
        if comparison.main is not None and comparison.second is not None:
            self._later(lambda: self._compare(comparison))

    def statistics(self) -> ShadowStatistics:
        """Return the counts."""
        with self._changed:
            return ShadowStatistics(**self._counts)

    def drain(self, limit_s: float) -> None:
        """Wait until nothing is under way, but not longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: not self._outstanding, limit_s)

    def close(self) -> None:
        """End the thread after what was left to it; what is still under way is not compared."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._outstanding:
            reason = self._counts["first_failure"] or "the job ended before"
            self._count(second_failed=self._outstanding, first_failure=reason)
            self._outstanding = 0

    def _later(self, step: Callable[[], None]) -> None:
        with self._changed:
            self._work.append(step)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._work and not self._is_closed:
                    self._changed.wait()
                if not self._work:
                    return
                step = self._work.popleft()
            step()
            del step  # an idle thread must not keep arrays alive

    def _ask(self, comparison: Comparison) -> None:
        request, comparison.request = comparison.request, None
        deadline_ns = self._clock.now_ns() + round(TIMEOUT_S * 1e9)
        done = CallbackCompletion(comparison.second_ended, name=comparison.name, deadline_ns=deadline_ns)
        comparison.second_done = weakref.ref(done)
        comparison.timer = self._clock.call_later(TIMEOUT_S, comparison.expire)
        if request is not None:
            self._second.submit(request, done)

    def _compare(self, comparison: Comparison) -> None:
        main, second = comparison.main, comparison.second
        with self._changed:
            if comparison.is_over:
                return
            comparison.is_over = True
        if comparison.timer is not None:
            comparison.timer.cancel()
        if not isinstance(main, Reply):
            self._end(main_failed=1)
        elif not isinstance(second, Reply):
            self._end(second_failed=1, first_failure=self._counts["first_failure"] or str(second))
        else:
            found = compare(main, second, rtol=self._settings.rtol, atol=self._settings.atol)
            counts = self._counts
            firsts = counts["first_differences"]
            if found.text and len(firsts) < _NAMED:
                firsts = (*firsts, f"{comparison.name}: {found.text}" if comparison.name else found.text)
            self._end(
                compared=1,
                differing=int(bool(found.text)),
                max_abs_difference=max(counts["max_abs_difference"], found.max_abs),
                max_rel_difference=max(counts["max_rel_difference"], found.max_rel),
                first_differences=firsts,
            )

    def _end(self, **changes: Any) -> None:
        with self._changed:
            self._count(**changes)
            self._outstanding -= 1
            self._changed.notify_all()

    def _count(self, **changes: Any) -> None:
        """Add numbers of type int, and replace the others."""
        for name, value in changes.items():
            self._counts[name] = self._counts[name] + value if isinstance(value, int) else value
