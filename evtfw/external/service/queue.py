"""Requests that wait for a model: levels of priority, oldest first within a level, time limits, giving up.

Nothing here is locked: one thread at a time calls it, see `evtfw.external.service.model`.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from evtfw.external.batch import Waiting

OLDEST_EVERY: Final = 8
"""Of so many batches one begins with the oldest request of all levels, so that no level starves."""


@dataclasses.dataclass(slots=True, eq=False, weakref_slot=True)
class Queued(Waiting):
    """A request in the queue.

    Args:
        level: of priority, from 1.
        size_bytes: of its arrays.
        expires_ns: when it may wait no longer; None: never.
        number: in order of arrival.
        give_up: called with it when nobody waits for it any more.
        is_waiting: whether it is in the queue.
    """

    level: int = 1
    size_bytes: int = 0
    expires_ns: int | None = None
    number: int = 0
    give_up: Callable[[Queued], None] | None = None
    is_waiting: bool = False

    def cancel(self) -> None:
        """Nobody waits for it any more: it makes room for others."""
        if self.give_up is not None:
            self.give_up(self)


class RequestQueue:
    """The levels of a model's queue.

    Args:
        levels: how many.

    Attributes:
        size_bytes: of the arrays that wait.
    """

    def __init__(self, levels: int) -> None:
        self._levels: list[deque[Queued]] = [deque() for _ in range(levels)]
        self._counts = [0] * levels
        self._rows = [0] * levels
        self._count = 0
        self._arrivals = 0
        self._expiring: list[tuple[int, int, Queued]] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def levels(self) -> int:
        """How many levels there are."""
        return len(self._levels)

    def waiting_at(self, level: int) -> int:
        """Return how many requests wait at a level."""
        return self._counts[level - 1]

    def rows_before(self, level: int) -> int:
        """Return the rows that are served before a new request of this level."""
        return self._rows[0] if level == 1 else sum(self._rows[:level])

    def push(self, queued: Queued) -> None:
        """Add a request behind the others of its level."""
        self._arrivals += 1
        queued.number = self._arrivals
        self._levels[queued.level - 1].append(queued)
        self._count_in(queued)
        if queued.expires_ns is not None:
            heapq.heappush(self._expiring, (queued.expires_ns, queued.number, queued))

    def push_back(self, queued: Queued) -> None:
        """Put a request that was taken before to the front of its level again."""
        self._levels[queued.level - 1].appendleft(queued)
        self._count_in(queued)
        if queued.expires_ns is not None:
            heapq.heappush(self._expiring, (queued.expires_ns, queued.number, queued))

    def remove(self, queued: Queued) -> bool:
        """Take a request out, wherever it stands. Returns False if it does not wait here any more."""
        if not queued.is_waiting:
            return False
        queued.is_waiting = False
        level = queued.level - 1
        self._counts[level] -= 1
        self._rows[level] -= queued.rows
        self._count -= 1
        self.size_bytes -= queued.size_bytes
        self._tidy(level)
        return True

    def _count_in(self, queued: Queued) -> None:
        queued.is_waiting = True
        level = queued.level - 1
        self._counts[level] += 1
        self._rows[level] += queued.rows
        self._count += 1
        self.size_bytes += queued.size_bytes

    def _tidy(self, level: int) -> None:
        """Drop what does not wait any more: at the front at once, elsewhere when it is the greater part."""
        waiting = self._levels[level]
        while waiting and not waiting[0].is_waiting:
            waiting.popleft()
        if len(waiting) > 2 * self._counts[level] + 16:
            self._levels[level] = deque(q for q in waiting if q.is_waiting)
        if len(self._expiring) > 2 * self._count + 16:
            self._expiring = [entry for entry in self._expiring if entry[2].is_waiting]
            heapq.heapify(self._expiring)

    def in_order(self, turn: int) -> Iterator[Queued]:
        """Yield the waiting requests in the order of serving; the queue must not change meanwhile.

        Args:
            turn: number of the batch; each `OLDEST_EVERY`-th begins with the oldest request of all.
        """
        first = None
        if len(self._levels) > 1 and turn % OLDEST_EVERY == 0:
            first = min((level[0] for level in self._levels if level), key=_number, default=None)
            if first is not None:
                yield first
        for level in self._levels:
            for queued in level:
                if queued.is_waiting and queued is not first:
                    yield queued

    def oldest(self) -> Queued | None:
        """Return who waits longest."""
        return min((level[0] for level in self._levels if level), key=_number, default=None)

    def expired(self, now_ns: int) -> Iterator[Queued]:
        """Take out and yield what may wait no longer."""
        while self._expiring and (self._expiring[0][0] <= now_ns or not self._expiring[0][2].is_waiting):
            queued = heapq.heappop(self._expiring)[2]
            if self.remove(queued):
                yield queued

    def next_expiry_ns(self) -> int | None:
        """Return when the next request may wait no longer; possibly one that was served already."""
        return self._expiring[0][0] if self._expiring else None


def _number(queued: Queued) -> int:
    return queued.number
