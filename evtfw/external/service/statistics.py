"""What happened to the requests of a model: counts and times as Triton's ModelStatistics has them, and histograms."""

from __future__ import annotations

import bisect
import dataclasses
import time
from collections.abc import Mapping
from typing import Final


@dataclasses.dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened and how long it took altogether.

    Args:
        count: how often.
        ns: nanoseconds, summed.
    """

    count: int = 0
    ns: int = 0


_NONE: Final = Duration()


@dataclasses.dataclass(frozen=True, slots=True)
class BatchSize:
    """Executions with one number of rows."""

    compute_input: Duration = _NONE
    compute_infer: Duration = _NONE
    compute_output: Duration = _NONE


@dataclasses.dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Counts of requests, with their times from arrival to end unless said otherwise.

    Each request that ended is counted in exactly one of success, fail, cancel and reject.

    Args:
        success: answered.
        fail: refused because they do not fit the model, or failed by it.
        cancel: given up by who asked.
        reject: refused or ended by the queue: overload, time limits, a service that is ending.
        queue: waiting, of the answered ones.
        compute_input, compute_infer, compute_output: putting batches together, computing, taking replies apart; for
            each answered request that of its whole batch, as Triton counts.
        inference_count: rows that were answered.
        execution_count: batches that were answered.
        last_inference_ms: when the last batch was answered, milliseconds since 1970; 0 for never.
        batch_sizes: executions by their number of rows.
    """

    success: Duration = _NONE
    fail: Duration = _NONE
    queue: Duration = _NONE
    compute_input: Duration = _NONE
    compute_infer: Duration = _NONE
    compute_output: Duration = _NONE
    cancel: Duration = _NONE
    reject: Duration = _NONE
    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    batch_sizes: Mapping[int, BatchSize] = dataclasses.field(default_factory=dict)


class Histogram:
    """Counts of values by upper limits.

    Args:
        limits: ascending; a value equal to a limit is below it. What is larger than all counts as infinite.
    """

    __slots__ = ("counts", "limits", "total")

    def __init__(self, limits: tuple[float, ...]) -> None:
        self.limits = limits
        self.counts = [0] * (len(limits) + 1)
        self.total = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count a value."""
        self.counts[bisect.bisect_left(self.limits, value)] += count
        self.total += value * count


_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_ROWS: Final = tuple(float(1 << n) for n in range(11))
OUTCOMES: Final = ("success", "fail", "cancel", "reject")
"""Each request ends as one of them."""


class _Sum:
    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = self.ns = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns * count

    def duration(self) -> Duration:
        return Duration(self.count, self.ns)


class Recorder:
    """Collects the statistics of a model; called by one thread at a time.

    Attributes:
        queue_seconds: histogram of the waits of answered requests.
        compute_seconds: of the executions.
        batch_rows: of the executions.
    """

    def __init__(self) -> None:
        self._ends = {outcome: _Sum() for outcome in OUTCOMES}
        self._queue = _Sum()
        self._compute = (_Sum(), _Sum(), _Sum())
        self._rows = 0
        self._executions = 0
        self._last_ms = 0
        self._batch_sizes: dict[int, tuple[_Sum, _Sum, _Sum]] = {}
        self.queue_seconds = Histogram(_SECONDS)
        self.compute_seconds = Histogram(_SECONDS)
        self.batch_rows = Histogram(_ROWS)

    def ended(self, outcome: str, ns: int) -> None:
        """Count a request: success, fail, cancel or reject."""
        self._ends[outcome].add(ns)

    def waited(self, ns: int) -> None:
        """Count the wait of an answered request."""
        self._queue.add(ns)
        self.queue_seconds.add(ns * 1e-9)

    def executed(self, rows: int, answered: int, answered_rows: int, times_ns: tuple[int, int, int]) -> None:
        """Count a batch that was answered.

        Args:
            rows: of the batch.
            answered: how many of its requests still wanted the answer.
            answered_rows: of these.
            times_ns: of input, inference and output.
        """
        known = self._batch_sizes.get(rows)
        if known is None:
            known = self._batch_sizes[rows] = (_Sum(), _Sum(), _Sum())
        for of_requests, of_size, ns in zip(self._compute, known, times_ns, strict=True):
            of_requests.add(ns, answered)
            of_size.add(ns)
        self._rows += answered_rows
        self._executions += 1
        self._last_ms = time.time_ns() // 1_000_000
        self.compute_seconds.add(times_ns[1] * 1e-9)
        self.batch_rows.add(rows)

    def statistics(self) -> ModelStatistics:
        """Return what was counted so far."""
        ends = {outcome: total.duration() for outcome, total in self._ends.items()}
        sizes = {rows: BatchSize(*(s.duration() for s in sums)) for rows, sums in sorted(self._batch_sizes.items())}
        compute_input, compute_infer, compute_output = (total.duration() for total in self._compute)
        return ModelStatistics(
            **ends,
            queue=self._queue.duration(),
            compute_input=compute_input,
            compute_infer=compute_infer,
            compute_output=compute_output,
            inference_count=self._rows,
            execution_count=self._executions,
            last_inference_ms=self._last_ms,
            batch_sizes=sizes,
        )
