"""Measured times of replies: a running mean for choosing servers, and quantiles for time limits and hedging."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 128
_EVERY: Final = 16
_ENOUGH: Final = 20
_WEIGHT: Final = 0.2


class Latency:
    """Remembers the times of the last replies; about 0.5 µs per reply.

    Attributes:
        mean_ns: exponentially weighted mean, 20% for the newest; 0 before the first.
        p50_ns, p95_ns: quantiles of the last 128, renewed with each 16th; 0 before there are 20.
        last_ns: when the last one was measured, on the clock of who measures.
    """

    __slots__ = ("_count", "_recent", "last_ns", "mean_ns", "p50_ns", "p95_ns")

    def __init__(self) -> None:
        self._recent: list[int] = []
        self._count = 0
        self.mean_ns = 0.0
        self.p50_ns = 0
        self.p95_ns = 0
        self.last_ns = 0

    @property
    def is_measured(self) -> bool:
        """Whether there are enough replies for quantiles."""
        return self._count >= _ENOUGH

    @property
    def unusual_ns(self) -> int:
        """What only a slow reply takes: the 95% quantile, but clearly more than the median where all take the same."""
        return max(self.p95_ns, self.p50_ns * 5 // 4)

    def record(self, taken_ns: int, now_ns: int) -> None:
        """Count a reply that took so long."""
        self.mean_ns = self.mean_ns + _WEIGHT * (taken_ns - self.mean_ns) if self._count else float(taken_ns)
        self.last_ns = now_ns
        if self._count < WINDOW:
            self._recent.append(taken_ns)
        else:
            self._recent[self._count % WINDOW] = taken_ns
        self._count += 1
        if self._count == _ENOUGH or (self._count > _ENOUGH and self._count % _EVERY == 0):
            ordered = sorted(self._recent)
            self.p50_ns = ordered[len(ordered) // 2]
            self.p95_ns = ordered[len(ordered) * 95 // 100]
