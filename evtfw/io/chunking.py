"""How many events a source reads at once: small first, then by memory, and never across what is compressed as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FIRST_CHUNK_EVENTS = 500
"""Read first, so that the workers have something to do soon."""
_STRETCH = 4
"""How much longer than wanted a chunk may get to end where a unit of the file ends: each is decompressed as a whole."""


class Pace:
    """Decides where chunks end; learns from each chunk how much memory an event takes.

    Args:
        chunk_events: events wanted at most.
        chunk_bytes: memory of the columns, roughly.
    """

    def __init__(self, chunk_events: int, chunk_bytes: int) -> None:
        self.chunk_events = chunk_events
        self.chunk_bytes = chunk_bytes
        self._seen_events = 0
        self._seen_bytes = 0

    @property
    def events(self) -> int:
        """How many events the next chunk should have."""
        if not self._seen_events:
            return min(FIRST_CHUNK_EVENTS, self.chunk_events)
        event_bytes = max(1.0, self._seen_bytes / self._seen_events)
        return max(1, min(self.chunk_events, int(self.chunk_bytes / event_bytes)))

    def learn(self, events: int, size_bytes: int) -> None:
        """Take note of a chunk that was read."""
        self._seen_events += events
        self._seen_bytes += size_bytes

    def end_of_chunk(self, boundaries: NDArray[np.int64], first: int, last: int) -> int:
        """Return where the chunk that begins at ``first`` ends; at ``last`` at the latest.

        Args:
            boundaries: entries at which the file's own units end, ascending.
        """
        wanted = first + self.events
        position = int(np.searchsorted(boundaries, wanted, side="right"))
        if position and boundaries[position - 1] > first:
            return min(last, int(boundaries[position - 1]))
        following = int(boundaries[position]) if position < len(boundaries) else last
        # A cut within a unit saves nothing: the unit is decompressed for both parts. So the first chunk may be longer.
        longest = _STRETCH * self.events if self._seen_events else max(_STRETCH * self.events, self.chunk_events)
        return min(last, following if following - first <= longest else wanted)
