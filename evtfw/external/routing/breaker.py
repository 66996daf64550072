"""When a failing server is left alone, and when it is tried again: a circuit breaker with half-open probes."""

from __future__ import annotations

import enum
import random
from typing import Final

FAILURES: Final = 3
"""So many failures in a row open the breaker; a time-out does so at once if nothing came from the server meanwhile."""
FIRST_OPEN_S: Final = 0.1
LONGEST_OPEN_S: Final = 30.0
_JITTER: Final = 0.25
_HEALTHY_AFTER_S: Final = 30.0


class State(enum.Enum):
    """Of a server, as far as requests go."""

    CLOSED = "serving"
    OPEN = "left alone"
    HALF_OPEN = "being tried"
    UNOPENED = "not reached yet"


class Breaker:
    """The breaker of one server.

    Args:
        random_source: for the jitter, so that many clients do not come back at the same time.

    Attributes:
        state: closed at first.
        generation: changes with each transition; outcomes of requests of earlier ones are old news.
        reason: why it was opened last.
        until_ns: when the next probe may be sent, while it is open.
    """

    __slots__ = (
        "_closed_ns",
        "_failed_ns",
        "_in_a_row",
        "_level",
        "_random",
        "generation",
        "reason",
        "state",
        "until_ns",
    )

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        self._in_a_row = 0
        self._level = 0
        self._closed_ns = self._failed_ns = 0
        self.state = State.CLOSED
        self.generation = 0
        self.reason = ""
        self.until_ns = 0

    def succeeded(self) -> None:
        """The server did what was asked while the breaker was closed."""
        self._in_a_row = 0

    def failed(self, now_ns: int, reason: str, *, sent_ns: int, at_once: bool = False) -> bool:
        """Count a failure of a request that was sent then. Returns whether this opened a closed breaker.

        All requests that are in flight when a connection breaks fail together: that counts once.
        """
        if sent_ns >= self._failed_ns:
            self._in_a_row += 1
            self._failed_ns = now_ns
        if self.state is State.CLOSED and (at_once or self._in_a_row >= FAILURES):
            if now_ns - self._closed_ns > _HEALTHY_AFTER_S * 1e9:
                self._level = 0
            self._open(now_ns, reason)
            return True
        if self.state is State.HALF_OPEN:
            self._open(now_ns, reason)
        return False

    def is_probe_due(self, now_ns: int) -> bool:
        """Whether one request may be sent to see how the server is."""
        return self.state is State.OPEN and now_ns >= self.until_ns

    def probe(self) -> None:
        """That request is being sent."""
        self._change(State.HALF_OPEN)

    def give_back(self, now_ns: int) -> None:
        """The probe was given up before it told anything."""
        self._change(State.OPEN)
        self.until_ns = now_ns

    def close(self, now_ns: int) -> None:
        """The server serves again."""
        self._in_a_row = 0
        self._closed_ns = now_ns
        self._change(State.CLOSED)

    def open_time_s(self, level: int) -> float:
        """How long it stays open: doubled with each level up to half a minute, give or take a quarter."""
        return min(LONGEST_OPEN_S, FIRST_OPEN_S * 2.0 ** min(level, 20)) * self._random.uniform(
            1 - _JITTER, 1 + _JITTER
        )

    def _open(self, now_ns: int, reason: str) -> None:
        self.reason = reason
        self.until_ns = now_ns + int(self.open_time_s(self._level) * 1e9)
        self._level += 1
        self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self.state = state
        self.generation += 1
