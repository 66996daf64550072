"""Samples over time in bounded memory, however long the job."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Series:
    """Rows of figures over time. When full, every second row is dropped and the spacing doubles.

    Args:
        columns: names of the figures beside ``time_s``.
        capacity: rows kept at most.

    >>> series = Series(["size"], capacity=4)
    >>> for second in range(10):
    ...     series.add(second, [10.0 * second])
    >>> series["time_s"].tolist(), series["size"].tolist()
    ([0.0, 4.0, 8.0, 9.0], [0.0, 40.0, 80.0, 90.0])
    """

    def __init__(self, columns: Sequence[str], capacity: int = 1200) -> None:
        self.columns = ("time_s", *columns)
        self._capacity = capacity
        self._spacing_s = 0.0
        self._rows: list[tuple[float, ...]] = []
        self._latest: tuple[float, ...] | None = None

    def add(self, time_s: float, values: Sequence[float]) -> None:
        """Add a row. One that comes too early is kept only until the next comes."""
        row = (float(time_s), *values)
        if self._rows and time_s - self._rows[-1][0] < self._spacing_s:
            self._latest = row
            return
        self._latest = None
        self._rows.append(row)
        if len(self._rows) >= self._capacity:
            self._latest = row
            self._rows = self._rows[::2]
            span = self._rows[-1][0] - self._rows[0][0]
            self._spacing_s = span / max(1, len(self._rows) - 1)

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, column: str) -> NDArray[np.float64]:
        number = self.columns.index(column)
        return np.array([row[number] for row in self._all()], dtype=np.float64)

    def to_dict(self) -> dict[str, list[float]]:
        """Return the columns by name, for JSON."""
        rows = self._all()
        return {name: [row[number] for row in rows] for number, name in enumerate(self.columns)}

    def _all(self) -> list[tuple[float, ...]]:
        if self._latest is None or (self._rows and self._latest == self._rows[-1]):
            return self._rows
        return [*self._rows, self._latest]
