"""Events made up on the spot, for tests and load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Parameter
from evtfw.core.source import Chunk, Column, ColumnInfo, JaggedColumn, Source
from evtfw.io.columns import read_only, size_bytes

_CHUNK_EVENTS = 16_384
_CHUNK_BYTES = 32 << 20


class EmptySource(Source):
    """Makes numbered events that hold nothing, or only a load to carry.

    Columns, if asked for by their parameters:

    * ``payload``: uint8 [payload_bytes], random;
    * ``values``: float32 [n], uniform in [0, 1), n from a Poisson distribution of mean ``values_mean``.

    They depend on ``seed`` and the event's number only, never on where a job begins.
    """

    events = Parameter[int]("how many events", ge=0)
    events_per_lumi = Parameter[int]("events in each luminosity block", default=1000, gt=0)
    lumis_per_run = Parameter[int]("luminosity blocks in each run", default=100, gt=0)
    first_run = Parameter[int]("number of the first run", default=1, ge=0)
    payload_bytes = Parameter[int]("size of the column 'payload'; 0: no such column", default=0, unit="byte", ge=0)
    values_mean = Parameter[float]("mean length of the column 'values'; 0: no such column", default=0.0, ge=0)
    seed = Parameter[int]("of the columns' random numbers", default=1, ge=0)

    def columns(self) -> Mapping[str, ColumnInfo]:
        """See `Source.columns`."""
        offered = {}
        if self.payload_bytes:
            offered["payload"] = ColumnInfo(NDArray[np.uint8], "random bytes")
        if self.values_mean:
            offered["values"] = ColumnInfo(NDArray[np.float32], "random numbers in [0, 1)")
        return offered

    def event_count(self) -> int:
        """See `Source.event_count`."""
        return self.events

    def chunks(self, columns: Sequence[str], first: int, count: int | None) -> Iterator[Chunk]:
        """See `Source.chunks`. Event n (from 0) is number n + 1 and is in block n // events_per_lumi + 1 of all."""
        stop = self.events if count is None else min(self.events, first + count)
        size = self._block_events
        for block in range(first // size, -(-stop // size)):
            begin, end = max(first, block * size), min(stop, (block + 1) * size)
            if begin < end:
                yield self._chunk(columns, block, begin, end)

    @property
    def _block_events(self) -> int:
        """Events that are made at once: fewer if they are large. Their random numbers have a seed of their own."""
        event_bytes = self.payload_bytes + 4 * self.values_mean
        return max(1, min(_CHUNK_EVENTS, int(_CHUNK_BYTES / event_bytes))) if event_bytes else _CHUNK_EVENTS

    def _chunk(self, columns: Sequence[str], block: int, begin: int, end: int) -> Chunk:
        numbers = np.arange(begin, end, dtype=np.int64)
        blocks = numbers // self.events_per_lumi
        runs = self.first_run + blocks // self.lumis_per_run
        lumis = 1 + blocks % self.lumis_per_run
        start = block * self._block_events
        made: dict[str, Column] = {name: self._column(name, block, begin - start, end - start) for name in columns}
        return Chunk(runs, lumis, numbers + 1, made, str(self), begin, sum(map(size_bytes, made.values())))

    def _column(self, name: str, block: int, first: int, last: int) -> Column:
        """Make the numbers of a whole block, so that they do not depend on where reading begins, and cut it."""
        random = np.random.default_rng((self.seed, block, len(name)))
        if name == "payload":
            return read_only(random.integers(0, 256, (self._block_events, self.payload_bytes), np.uint8)[first:last])
        offsets = np.zeros(self._block_events + 1, np.int64)
        np.cumsum(random.poisson(self.values_mean, self._block_events), out=offsets[1:])
        return JaggedColumn(random.random(offsets[-1], np.float32), offsets[first : last + 1])

    def __str__(self) -> str:
        return f"EmptySource(seed={self.seed})"
