"""Where streams get their events: chunks from the source, cut into blocks within one luminosity block.

Flow: source thread → `offer` (selection, cutting at lumi boundaries) → queue of sections → `take` by streams. A stream
that finds nothing is parked and submitted again when a chunk arrives: no thread waits.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evtfw.core.boundaries import Boundaries, LumiState
from evtfw.core.clock import Clock
from evtfw.core.selection import Selection
from evtfw.core.source import Chunk

if TYPE_CHECKING:
    from evtfw.core.ahead import PreparedEvent
    from evtfw.core.stream import Stream

READ_AHEAD_CHUNKS = 2
RUN_AHEAD_EVENTS = 20_000
"""How far the newest event may be ahead of the oldest in flight: outputs keep what waits for its turn in memory."""


class Parked(enum.Enum):
    """Says that a stream must wait for a chunk."""

    PARKED = enum.auto()


PARKED = Parked.PARKED


@dataclasses.dataclass(slots=True)
class Section:
    """Selected rows of a chunk, all of one luminosity block."""

    chunk: Chunk
    lumi: LumiState
    rows: Sequence[int]
    taken: int = 0


@dataclasses.dataclass(slots=True)
class Block:
    """Events that a stream processes one after another."""

    chunk: Chunk
    lumi: LumiState
    rows: Sequence[int]
    first_index: int
    prepared: list[PreparedEvent] = dataclasses.field(default_factory=list)
    """The events themselves, if modules ran ahead for them."""


@dataclasses.dataclass(slots=True)
class FeedCounts:
    """What the feed has done."""

    taken: int = 0
    deselected: int = 0
    source_wait_ns: int = 0
    ranges: dict[str, list[int]] = dataclasses.field(default_factory=dict)


class Feed:
    """Hands out events to streams.

    Args:
        selection: which events are taken.
        submit: runs a stream again that was parked here.
        oldest_index: number of the oldest event in flight.
        clock: for the time that streams are parked.
    """

    def __init__(
        self,
        boundaries: Boundaries,
        selection: Selection,
        submit: Callable[[Callable[[], None]], None],
        oldest_index: Callable[[], int | None],
        clock: Clock,
    ) -> None:
        self.lock = boundaries.lock
        self.boundaries = boundaries
        self.selection = selection
        self.submit = submit
        self.oldest_index = oldest_index
        self.clock = clock
        self.horizon = RUN_AHEAD_EVENTS
        self.counts = FeedCounts()
        self.sections: deque[Section] = deque()
        self.parked: list[Stream] = []
        self.space = threading.Semaphore(READ_AHEAD_CHUNKS)
        self.is_complete = False
        self.is_stopped = False
        self.pull: Callable[[], None] | None = None
        """In a job without threads: reads the next chunk when a stream finds nothing."""

    # The source's side

    def read(self, chunks: Iterator[Chunk], on_error: Callable[[BaseException], None]) -> None:
        """Body of the reader thread: offer all chunks, at most `READ_AHEAD_CHUNKS` ahead."""
        try:
            self.space.acquire()
            while not self.is_stopped and self.read_one(chunks):
                self.space.acquire()
        except BaseException as error:
            on_error(error)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
            self.complete()

    def read_one(self, chunks: Iterator[Chunk]) -> bool:
        """Offer the next chunk; False if there is none or no more is wanted."""
        chunk = next(chunks, None)
        if chunk is None:
            return False
        self.offer(chunk)
        return not self.selection.is_exhausted

    def offer(self, chunk: Chunk) -> None:
        """Add a chunk; parked streams are woken."""
        rows = self.selection.rows(chunk)
        sections = list(self._cut(chunk, rows))
        with self.lock:
            counts = self.counts
            counts.deselected += len(chunk) - len(rows)
            span = counts.ranges.setdefault(chunk.origin, [chunk.first_entry, chunk.first_entry])
            span[1] = max(span[1], chunk.first_entry + len(chunk))
            self.sections.extend(sections)
        if not sections:
            self.space.release()
        self.wake()

    def _cut(self, chunk: Chunk, rows: Sequence[int]) -> Iterator[Section]:
        if len(rows) == 0:
            return
        index = np.asarray(rows)
        runs, lumis = np.asarray(chunk.runs)[index], np.asarray(chunk.lumis)[index]
        cuts = np.flatnonzero((np.diff(runs) != 0) | (np.diff(lumis) != 0)) + 1
        edges = [0, *cuts.tolist(), len(index)]
        for start, stop in itertools.pairwise(edges):
            lumi = self.boundaries.next_lumi(int(runs[start]), int(lumis[start]))
            yield Section(chunk, lumi, rows[start:stop])

    def complete(self) -> None:
        """No further chunk will come."""
        with self.lock:
            self.is_complete = True
        self.wake()

    def stop(self) -> None:
        """Give out no further events."""
        with self.lock:
            self.is_stopped = True
        self.space.release()
        self.wake()

    def wake(self) -> None:
        """Run the parked streams again."""
        with self.lock:
            self._release_parked()

    def _park(self, stream: Stream) -> Parked:
        """Called with the lock held."""
        stream.parked_at_ns = self.clock.now_ns()
        self.parked.append(stream)
        return PARKED

    def _release_parked(self) -> None:
        """Called with the lock held."""
        parked, self.parked = self.parked, []
        if parked:
            now_ns = self.clock.now_ns()
            self.counts.source_wait_ns += sum(now_ns - stream.parked_at_ns for stream in parked)
        for stream in parked:
            self.submit(stream.run)

    # The streams' side

    def take(self, stream: Stream, size: int) -> Block | Parked | None:
        """Give the stream its next block of at most ``size`` events.

        `PARKED`: it will be run again when there is one. None: there are no more.

        The stream is counted as a user of the block's lumi from here on.
        """
        if self.pull is not None and not self.sections and not self.is_complete and not self.is_stopped:
            self.pull()
        with self.lock:
            if self.is_stopped or (self.is_complete and not self.sections):
                self.boundaries.pass_all()
                return None
            if not self.sections or self._is_far_ahead():
                return self._park(stream)
            return self._block(stream, size)

    def _is_far_ahead(self) -> bool:
        """Whether no event may be given out before the oldest in flight ends (its stream will then come here)."""
        if self.counts.taken < self.horizon:
            return False
        oldest = self.oldest_index()
        self.horizon = (self.counts.taken if oldest is None else oldest) + RUN_AHEAD_EVENTS
        if self.counts.taken >= self.horizon:
            return True
        self._release_parked()
        return False

    def _block(self, stream: Stream, size: int) -> Block:
        section = self.sections[0]
        rows = section.rows[section.taken : section.taken + size]
        section.taken += len(rows)
        first_index = self.counts.taken
        self.counts.taken += len(rows)
        self.boundaries.pass_before(section.lumi)
        self.boundaries.count_user(stream, section.lumi)
        if section.taken == len(section.rows):
            self.sections.popleft()
            if not self.sections or self.sections[0].chunk is not section.chunk:
                self.space.release()
        return Block(section.chunk, section.lumi, rows, first_index)


def next_size(size: int, elapsed_ns: int, target_ns: int, largest: int) -> int:
    """Return how many events to take at once, if ``size`` events took ``elapsed_ns``; at most twice as many.

    >>> next_size(4, elapsed_ns=1_000, target_ns=200_000, largest=512)
    8
    """
    if elapsed_ns <= 0:
        return 1
    return max(1, min(2 * size, size * target_ns // elapsed_ns, largest))
