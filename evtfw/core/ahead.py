"""Work done ahead of the streams: modules that take several events at once, and all that comes before them.

Flow: a stream that finds no event ready takes a bulk of them from the feed → `Preparation` runs the plan's *ahead*
segments for all of them, module by module → the events, with the products they have by now, wait in `Ahead` → streams
take one after another and go on with it: what is left of the plan runs event by event. So what a call of NumPy or of a
library costs is paid once for a bulk, and how many streams there are does not matter.

A module that raises for a bulk is asked again for each of its events alone. The event for which it raises then too is
not taken further here: the stream that adopts it notes the failure and goes on carefully, as with any other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from evtfw.core.event import Event
from evtfw.core.feed import PARKED, Block, Feed, Parked, next_size

if TYPE_CHECKING:
    from evtfw.core.stream import Stream

TARGET_BULK_NS = 8_000_000
"""About how long a bulk takes: long enough to share the cost of calls, short enough not to keep services waiting."""
MAX_BULK = 64


class PreparedEvent:
    """An event on its way through the ahead segments.

    Args:
        event: with the products it has so far.

    Attributes:
        bits: decisions of the filters so far.
        done: indices of the nodes that ran; the last one failed if there is an error, and nothing runs after it.
        error: what it raised.
    """

    __slots__ = ("bits", "done", "error", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.bits = 0
        self.done: list[int] = []
        self.error: BaseException | None = None

    def fail(self, node: int, error: BaseException) -> None:
        """The node raised for this event."""
        self.error = error
        self.done.append(node)


class Ahead:
    """Hands out prepared events to streams.

    Args:
        size: events in a bulk; 0: chosen by the time they take.
        submit: runs a stream again that was parked here.
    """

    def __init__(self, feed: Feed, size: int, submit: Callable[[Callable[[], None]], None]) -> None:
        self.feed = feed
        self.submit = submit
        self.lock = threading.Lock()
        self.fixed_size = size
        self.size = size or 1
        self.ready: deque[Block] = deque()
        self.preparing = 0
        self.waiting: list[Stream] = []

    def take(self, stream: Stream, size: int) -> Block | Parked | None:
        """Give prepared events, at most ``size``; if there are none, a bulk that the stream has to prepare.

        The meaning of the other results is that of `Feed.take`.
        """
        with self.lock:
            given = self._give(stream, size)
            if given is not None:
                return given
            self.preparing += 1
        block = self.feed.take(stream, self.size)
        if isinstance(block, Block):
            return block
        with self.lock:
            self.preparing -= 1
            if block is None:
                given = self._give(stream, size)
                if given is not None:
                    return given
                if self.preparing:  # other threads will have events to spare
                    self.waiting.append(stream)
                    block = PARKED
            if not self.preparing:
                self._wake()
        return block

    def offer(self, block: Block, prepared: list[PreparedEvent], elapsed_ns: int) -> None:
        """The events of a bulk are ready; any stream may take them."""
        block.prepared = prepared
        boundaries = self.feed.boundaries
        with boundaries.lock:
            block.lumi.users += 1  # the bulk itself, until its last event is taken
        with self.lock:
            if not self.fixed_size:
                self.size = next_size(len(prepared), elapsed_ns, TARGET_BULK_NS, MAX_BULK)
            self.preparing -= 1
            self.ready.append(block)
            self._wake()
        self.feed.wake()

    def _wake(self) -> None:
        """Called with the lock held."""
        waiting, self.waiting = self.waiting, []
        for stream in waiting:
            self.submit(stream.run)

    def _give(self, stream: Stream, size: int) -> Block | None:
        """Called with the lock held."""
        if not self.ready:
            return None
        bulk = self.ready[0]
        given = Block(bulk.chunk, bulk.lumi, bulk.rows[:size], bulk.first_index, bulk.prepared[:size])
        bulk.rows, bulk.prepared = bulk.rows[size:], bulk.prepared[size:]
        bulk.first_index += len(given.rows)
        boundaries = self.feed.boundaries
        with boundaries.lock:
            boundaries.count_user(stream, bulk.lumi)
            if not bulk.prepared:
                self.ready.popleft()
                bulk.lumi.users -= 1
        return given
