"""How often and how soon requests are sent again, so that retries help and never storm."""

from __future__ import annotations

import random
from typing import Final

SHARE: Final = 0.1
"""Retries and hedges are at most this share of the requests in the long run, and a few per second besides."""
PER_SECOND: Final = 2.0
FIRST_S: Final = 0.025
LONGEST_S: Final = 1.0
OVERLOADED: Final = 4.0
"""After a refusal by a busy server the back-off is longer by this factor."""


class RetryBudget:
    """A bucket of tokens: each request adds a tenth of one, each retry takes one.

    As `RetryBudget` of Finagle. It starts full, so that all requests in flight can go elsewhere when a server dies.

    Args:
        burst: tokens at most.
    """

    __slots__ = ("_burst", "_last_ns", "_tokens")

    def __init__(self, burst: float) -> None:
        self._burst = burst
        self._tokens = burst
        self._last_ns = 0

    @property
    def wait_s(self) -> float:
        """How long it takes until there is a token, if no request comes meanwhile; known after `take`."""
        return max(0.0, 1.0 - self._tokens) / PER_SECOND

    def deposit(self) -> None:
        """A request came."""
        self._tokens += SHARE

    def take(self, now_ns: int) -> bool:
        """Return whether something may be sent again now."""
        self._tokens = min(self._burst, self._tokens + (now_ns - self._last_ns) * 1e-9 * PER_SECOND)
        self._last_ns = now_ns
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def back_off_s(failures: int, random_source: random.Random, *, is_overloaded: bool = False) -> float:
    """Return how long to wait after so many failures: doubled each time, and half of it by chance ("equal jitter")."""
    full = min(LONGEST_S, FIRST_S * 2.0 ** min(max(0, failures - 1), 20)) * (OVERLOADED if is_overloaded else 1.0)
    return full * random_source.uniform(0.5, 1.0)
