"""From many workers to one writer: events taken without a lock each, put in order, and held up by a slow disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from evtfw.core.source import Chunk

_log = logging.getLogger(__name__)
_MANY_PARKED = 100_000
FIRST_ROWS = 64
"""Rows that may wait as long as their size is not known."""


Row: TypeAlias = "tuple[int, Chunk | None, int, tuple[Any, ...]]"
"""One event as a worker hands it over: its number in the order of input, its chunk and row therein, and what is kept of
it: the results of the paths (twice), then its products. References only, nothing is copied. The chunk is None for an
event
that is not kept; it travels too, because the order needs to know of it. (A plain tuple: it is made for every event.)"""


class RowQueue:
    """Rows from any thread, in lists for one.

    A worker's `put` is an append to a deque and two comparisons. ``deque.append`` and ``popleft`` are thread-safe by
    contract, with and without a global interpreter lock, and only the writer's thread touches the order. The lock is
    taken when there is somebody to wake or something to wait for.

    In order of input, rows that overtook an earlier event are parked until that event is there. Parked rows do *not*
    make `put` wait: the event they wait for may need the very thread that would wait. So memory is bounded by the
    distance to the slowest event in flight (the deadlines of external modules bound that).

    Args:
        ordered: give rows in the order of ``index``, which counts from 0 without gaps.
        wake_rows: wake the writer when so many rows wait (or half the limit, if that is less).
        limit_rows: `put` waits while so many rows wait for the writer; see `resize`.
    """

    def __init__(self, *, ordered: bool, wake_rows: int = 1024, limit_rows: int = FIRST_ROWS) -> None:
        self.ordered = ordered
        self.blocked_s = 0.0
        self._arrivals: deque[Row] = deque()
        self._max_wake_rows = wake_rows
        self._chunk: Chunk | None = None
        self._changed = threading.Condition(threading.Lock())
        self.resize(limit_rows)
        self._writer_sleeps = False
        self._urgent = False
        self._closed = False
        self._broken = False

    def put(self, row: Row) -> None:
        """Hand over an event; waits while the writer is too far behind."""
        arrivals = self._arrivals
        arrivals.append(row)
        # A new chunk means that rows taken so far may be the last to hold the previous one in memory.
        chunk = row[1]
        if chunk is not self._chunk and chunk is not None:
            self._chunk = chunk
            self._wake_writer(urgent=True)
        elif len(arrivals) >= self._wake_rows:
            self._wake_writer(urgent=False)

    def resize(self, limit_rows: int) -> None:
        """Let `put` wait at another number of rows, as the size of an event becomes known."""
        with self._changed:
            self._limit_rows = max(2, limit_rows)
            self._wake_rows = max(1, min(self._max_wake_rows, self._limit_rows // 2))
            self._changed.notify_all()  # who waits at the old limit may go on: the writer may sleep until the new one

    def close(self) -> None:
        """No row comes any more; `batches` ends after the last."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def break_off(self) -> None:
        """The writer gave up: nobody needs to wait for it, and rows are dropped."""
        with self._changed:
            self._broken = True
            self._arrivals.clear()
            self._changed.notify_all()

    def batches(self) -> Iterator[list[Row]]:
        """Give the rows that are to be kept, for the writer's thread; sleeps while there are too few."""
        parked: dict[int, Row] = {}
        expected = 0
        warned = False
        while True:
            closing = self._sleep()
            arrived = self._take()
            if not self.ordered:
                ready = arrived
            else:
                ready = []
                for row in arrived:
                    parked[row[0]] = row
                while (row_or_none := parked.pop(expected, None)) is not None:
                    ready.append(row_or_none)
                    expected += 1
                if closing:  # events that never came (the job stopped) leave gaps
                    ready.extend(parked[index] for index in sorted(parked))
            del arrived
            if len(parked) > _MANY_PARKED and not warned:
                warned = True
                _log.warning(
                    "%d events wait in memory for event number %d, which is still in flight, to be written in the "
                    "order of input; order='any' does not wait", len(parked), expected,
                )  # fmt: skip
            kept = [row for row in ready if row[1] is not None]
            del ready
            if kept:
                yield kept
            del kept
            if closing:
                return

    def _take(self) -> list[Row]:
        arrivals = self._arrivals
        taken = [arrivals.popleft() for _ in range(len(arrivals))]
        with self._changed:
            self._changed.notify_all()
        return taken

    def _sleep(self) -> bool:
        """Wait until there is work; return whether it is the last."""
        with self._changed:
            # Set before the test, so that a worker that appends after the test sees the flag. Should it see an old
            # value (without a global lock there is no order between the two), the next row wakes us, or `close`:
            # nothing is lost but a moment.
            self._writer_sleeps = True
            while not (self._closed or self._urgent or len(self._arrivals) >= self._wake_rows):
                self._changed.wait()
            self._writer_sleeps = self._urgent = False
            return self._closed

    def _wake_writer(self, *, urgent: bool) -> None:
        if self._writer_sleeps or urgent:
            with self._changed:
                self._urgent |= urgent
                self._changed.notify_all()
        if self._broken:
            self._arrivals.clear()
        elif len(self._arrivals) >= self._limit_rows:
            started = time.perf_counter()
            with self._changed:
                self._changed.notify_all()  # nobody waits here without having woken the writer
                while len(self._arrivals) >= self._limit_rows and not self._is_over():
                    self._changed.wait()
                self.blocked_s += time.perf_counter() - started

    def _is_over(self) -> bool:
        return self._broken or self._closed
