"""Histograms of durations with bins of constant relative width: quantiles to one percent in bounded memory."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = 6  # 2**6 = 64 bins per octave, each 0.8 to 1.6 percent wide
_OCTAVES = 44  # up to 2**44 ns, almost five hours
BIN_COUNT = _OCTAVES << _BITS
_SHIFT = 52 - _BITS
_BIAS = 1023 << _BITS
_NEVER = np.iinfo(np.int64).max


def bin_numbers(durations_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bin of each duration; those below 1 ns are in the first bin, those too long in the last.

    The bits of a double are its exponent followed by its mantissa. Dropping the lower bits of the mantissa leaves the
    number of a bin on a piecewise linear approximation of a logarithmic scale: one shift instead of a logarithm.
    """
    bits = np.maximum(durations_ns, 1).astype(np.float64).view(np.int64)
    numbers: NDArray[np.int64] = np.minimum((bits >> _SHIFT) - _BIAS, BIN_COUNT - 1)
    return numbers


def bin_edges_ns(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lower edges of bins; those of ``numbers + 1`` are the upper edges."""
    return ((numbers.astype(np.int64) + _BIAS) << _SHIFT).view(np.float64)


@dataclasses.dataclass(frozen=True, slots=True)
class DurationHistogram:
    """Count, sum, extremes and distribution of durations.

    Args:
        counts: number of durations in each of the `BIN_COUNT` bins; integer.
    """

    count: int
    total_ns: int
    min_ns: int
    max_ns: int
    counts: NDArray[np.int64]

    @property
    def mean_ns(self) -> float:
        """Exact mean; 0 if empty."""
        return self.total_ns / self.count if self.count else 0.0

    def quantile_ns(self, fraction: float) -> float:
        """Return what ``fraction`` of the durations do not exceed, right to 1% (middle of its bin); 0 if empty."""
        if not self.count:
            return 0.0
        rank = max(1, math.ceil(fraction * self.count))
        number = int(np.searchsorted(np.cumsum(self.counts), rank))
        low, high = bin_edges_ns(np.array([number, number + 1]))
        return float(min(max((low + high) / 2, self.min_ns), self.max_ns))

    def coarse(self, bins_per_octave: int = 4) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return edges in ns [n+1] and contents [n] of bins of equal logarithmic width over what is filled, for plots.

        A bin on an edge is shared out, so that contents are not whole numbers; their sum is `count`.
        """
        filled = np.flatnonzero(self.counts)
        if not len(filled):
            return np.zeros(0), np.zeros(0)
        fine = np.log2(bin_edges_ns(np.arange(filled[0], filled[-1] + 2)))
        sums = np.concatenate([[0], np.cumsum(self.counts[filled[0] : filled[-1] + 1])])
        first, last = math.floor(fine[0] * bins_per_octave), math.ceil(fine[-1] * bins_per_octave)
        edges = np.arange(first, last + 1) / bins_per_octave
        return 2.0**edges, np.diff(np.interp(edges, fine, sums))

    def to_dict(self) -> dict[str, Any]:
        """Return figures in seconds and the filled bins, for JSON."""
        filled = np.flatnonzero(self.counts)
        return {
            "count": self.count,
            "total_s": self.total_ns * 1e-9,
            "min_s": self.min_ns * 1e-9,
            "mean_s": self.mean_ns * 1e-9,
            "p50_s": self.quantile_ns(0.5) * 1e-9,
            "p99_s": self.quantile_ns(0.99) * 1e-9,
            "max_s": self.max_ns * 1e-9,
            "bins": {
                "low_s": [float(f"{low:.6g}") for low in bin_edges_ns(filled) * 1e-9],
                "high_s": [float(f"{high:.6g}") for high in bin_edges_ns(filled + 1) * 1e-9],
                "count": self.counts[filled].tolist(),
            },
        }


class HistogramStack:
    """Several histograms that are filled together, because NumPy is fast on many numbers only. Not thread-safe.

    >>> modules = HistogramStack(2)
    >>> modules.add(np.array([[1_000, 2_000, 3_000], [50, 60, 70]]))
    >>> modules[0].count, modules[0].total_ns, modules[1].max_ns
    (3, 6000, 70)
    """

    def __init__(self, size: int) -> None:
        self._count = [0] * size
        self._total_ns = np.zeros(size, dtype=np.int64)
        self._min_ns = np.full(size, _NEVER)
        self._max_ns = np.zeros(size, dtype=np.int64)
        self._counts = np.zeros((size, BIN_COUNT), dtype=np.int64)
        self._offsets = np.arange(size)[:, None] * BIN_COUNT

    def __len__(self) -> int:
        return len(self._count)

    def __getitem__(self, number: int) -> DurationHistogram:
        count = self._count[number]
        return DurationHistogram(
            count,
            int(self._total_ns[number]),
            int(self._min_ns[number]) if count else 0,
            int(self._max_ns[number]),
            self._counts[number],
        )

    def add(self, durations_ns: NDArray[np.int64]) -> None:
        """Fill the first k histograms with n durations each; integer [k, n]."""
        k, n = durations_ns.shape
        if not k or not n:
            return
        self._total_ns[:k] += durations_ns.sum(axis=1)
        np.minimum(self._min_ns[:k], durations_ns.min(axis=1), out=self._min_ns[:k])
        np.maximum(self._max_ns[:k], durations_ns.max(axis=1), out=self._max_ns[:k])
        np.add.at(self._counts.reshape(-1), (bin_numbers(durations_ns) + self._offsets[:k]).ravel(), 1)
        for number in range(k):
            self._count[number] += n
