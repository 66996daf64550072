"""Which requests a model takes, by what it has to do already and how long that is expected to last."""

from __future__ import annotations

from typing import Final

from evtfw.external.service.estimate import ExecutionTime
from evtfw.external.service.queue import Queued, RequestQueue
from evtfw.external.service.settings import ServingSettings

_STEP: Final = 1.001
_LARGEST_MARGIN: Final = 3.0


class Admission:
    """Compares requests with limits and deadlines.

    What is expected to wait is multiplied by a margin that is learned: it grows when requests that were let in come
    too late, and shrinks while they do not.

    Args:
        settings: limits.
        queue: what waits.
        instances: executions at the same time at most.
        max_rows: of a batch at most; 1 if there are no batches.

    Attributes:
        running: begin and rows of each execution, by its number.
        time: how long executions take.
    """

    def __init__(self, settings: ServingSettings, queue: RequestQueue, instances: int, max_rows: int) -> None:
        self._settings = settings
        self._queue = queue
        self._instances = instances
        self._max_rows = max_rows
        self._margin = 1.1
        self.running: dict[int, tuple[int, int]] = {}
        self.time = ExecutionTime()

    def refusal(self, queued: Queued, now_ns: int) -> str:
        """Say why a request must be refused, if it must."""
        if len(self.running) < self._instances and not self._queue:
            return ""
        settings, queue = self._settings, self._queue
        limit = settings.policy_of(queued.level).max_queue_size
        if limit and queue.waiting_at(queued.level) >= limit:
            return f"has {limit} requests waiting already, which is its limit"
        if queue.size_bytes + queued.size_bytes > settings.max_queue_bytes:
            return f"has {queue.size_bytes} bytes waiting, and {settings.max_queue_bytes} is its limit"
        deadline_ns = queued.done.deadline_ns
        if deadline_ns is None and queued.expires_ns is None:
            return ""
        left_ns = None if deadline_ns is None else deadline_ns - queued.since_ns
        wait_ns = self._margin * self._expected_wait_ns(queued.level, now_ns)
        if left_ns is not None and wait_ns + self._expected_ns(queued, queue.rows_before(queued.level)) > left_ns:
            return f"would need {wait_ns * 1e-9:.3g} s to begin with it, which its deadline does not allow"
        allowed_ns = None if queued.expires_ns is None else queued.expires_ns - queued.since_ns
        if allowed_ns is not None and wait_ns > allowed_ns:
            return f"would need {wait_ns * 1e-9:.3g} s to begin with it, which is longer than it may wait"
        return ""

    def _expected_wait_ns(self, level: int, now_ns: int) -> float:
        """Return how long a new request of this level is expected to wait; nothing as long as nothing was measured."""
        if not self.time.is_known:
            return 0.0
        running_ns = sum(max(0.0, sent + self.time.of(rows) - now_ns) for sent, rows in self.running.values())
        rows = self._queue.rows_before(level)
        batch = min(rows, self.rows_of_a_batch()) or 1
        return (running_ns + rows / batch * self.time.of(batch)) / self._instances

    def _expected_ns(self, queued: Queued, other_rows: int) -> float:
        """Return how long the execution of a request is expected to take, with others that wait."""
        return self.time.of(max(queued.rows, min(queued.rows + other_rows, self.rows_of_a_batch())))

    def rows_of_a_batch(self) -> int:
        """Return the rows of the largest batch that is worth putting together now."""
        settings = self._settings
        if self._max_rows == 1 or settings.preferred_batch_sizes or settings.gather_s is None:
            return self._max_rows
        return self.time.rows_within(settings.gather_s * 1e9, self._max_rows)

    def is_late(self, queued: Queued, now_ns: int, other_rows: int) -> bool:
        """Whether a request would be answered too late if it were executed now."""
        deadline_ns = queued.done.deadline_ns
        if deadline_ns is None:
            return False
        is_late = now_ns + self._expected_ns(queued, other_rows) > deadline_ns
        self._learn(was_late=is_late)
        return is_late

    def _learn(self, *, was_late: bool) -> None:
        """Refuse earlier if what was let in comes too late, and later if not: one in a hundred may."""
        self._margin *= _STEP**99 if was_late else 1 / _STEP
        self._margin = min(_LARGEST_MARGIN, max(1.0, self._margin))
