"""How long an execution takes, learned from those before: a fixed part and a part for each row."""

from __future__ import annotations

from typing import Final

_MEMORY: Final = 0.95
_SPREAD: Final = 1e-3


class ExecutionTime:
    """A straight line through the latest executions, older ones with less weight (each counts 0.95 of the next).

    As long as all executions had the same number of rows, the part for each row is taken as what it was before, at
    first as nothing: the estimate errs towards taking a request, and larger batches then tell.
    """

    __slots__ = ("_fixed_ns", "_per_row_ns", "_sums", "is_known", "largest_rows")

    def __init__(self) -> None:
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._fixed_ns = 0.0
        self._per_row_ns = 0.0
        self.is_known = False
        """Whether any execution was measured."""
        self.largest_rows = 0
        """Of the executions so far."""

    def add(self, rows: int, ns: int) -> None:
        """Learn from an execution."""
        n, r, t, rr, rt = (_MEMORY * value for value in self._sums)
        n, r, t, rr, rt = n + 1, r + rows, t + ns, rr + rows * rows, rt + rows * ns
        self._sums = n, r, t, rr, rt
        mean_rows, mean_ns = r / n, t / n
        spread = rr / n - mean_rows * mean_rows
        if spread > _SPREAD * mean_rows * mean_rows:
            self._per_row_ns = max(0.0, (rt / n - mean_rows * mean_ns) / spread)
        if self._per_row_ns * mean_rows > mean_ns:
            self._per_row_ns = mean_ns / mean_rows
        self._fixed_ns = mean_ns - self._per_row_ns * mean_rows
        self.is_known = True
        self.largest_rows = max(self.largest_rows, rows)

    def of(self, rows: int) -> float:
        """Return nanoseconds that an execution with so many rows is expected to take."""
        return self._fixed_ns + self._per_row_ns * rows

    def rows_within(self, ns: float, limit: int) -> int:
        """Return how many rows are expected to take no longer, not above ``limit`` nor twice the largest so far."""
        if not self.is_known:
            return 1
        limit = min(limit, 2 * self.largest_rows)
        if self._per_row_ns * limit > ns - self._fixed_ns:
            limit = int((ns - self._fixed_ns) / self._per_row_ns) if self._per_row_ns else 1
        return max(1, limit)
