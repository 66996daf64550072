"""Measures external requests: how long they took, who served them, and what became of them."""

from __future__ import annotations

import dataclasses
import threading
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from evtfw.observe.histogram import DurationHistogram, HistogramStack

_BUFFERED_WAITS = 256
_MOST_PROVENANCES = 64  # objects; a backend may make an equal one for each reply
TIME_PARTS = ("serialise", "network", "queue", "compute")


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyTiming:
    """All requests of an external-work module.

    Args:
        wait: from submission to the end of the request, failed ones included.
        served: number of replies by the backend that answered, with its server and the reason of a fallback.
        failed: number of requests that ended in an error, by its type.
        mean_parts_ns: where replies say that their time went, by `TIME_PARTS`; only parts that are not zero.
        mean_batch_rows: rows of the batches that requests were part of, seen from a request; None if not told.
    """

    wait: DurationHistogram
    served: Mapping[str, int]
    failed: Mapping[str, int]
    mean_parts_ns: Mapping[str, float]
    mean_batch_rows: float | None


class _StreamReplies:
    """Sums of one stream, which no other thread touches: no lock is needed."""

    __slots__ = ("batched", "failed", "parts_ns", "rows", "served", "timed", "waits")

    def __init__(self) -> None:
        self.waits = array("q")
        self.served: dict[int, list[Any]] = {}
        self.failed: Counter[str] = Counter()
        self.parts_ns = [0] * len(TIME_PARTS)
        self.timed = self.rows = self.batched = 0

    def add(self, reply: Any) -> None:
        if isinstance(reply, BaseException):
            self.failed[type(reply).__name__] += 1
            return
        # The contract of backends is another room's: whatever has its attributes is understood.
        provenance = getattr(reply, "provenance", None)
        entry = self.served.get(id(provenance))
        if entry is None:
            if len(self.served) >= _MOST_PROVENANCES:
                self.compact()
            entry = self.served[id(provenance)] = [provenance, 0]
        entry[1] += 1
        times = getattr(reply, "times", None)
        if times is not None:
            self._add_times(times)

    def compact(self) -> None:
        """Join equal provenances that are different objects."""
        joined: Counter[Any] = Counter()
        for provenance, number in self.served.values():
            joined[provenance] += number
        self.served = {id(provenance): [provenance, number] for provenance, number in joined.items()}

    def _add_times(self, times: Any) -> None:
        parts = self.parts_ns
        parts[0] += times.serialise_ns
        parts[1] += times.network_ns
        parts[2] += times.queue_ns
        parts[3] += times.compute_ns
        self.timed += 1
        if times.batch_rows:
            self.rows += times.batch_rows
            self.batched += 1


class ReplyTally:
    """Sums up the requests of one module."""

    def __init__(self, streams: int) -> None:
        self._lock = threading.Lock()
        self._streams = [_StreamReplies() for _ in range(streams)]
        self._waits = HistogramStack(1)

    def add(self, stream: int, wait_ns: int, reply: Any) -> None:
        """Count a request that ended with a reply or an exception."""
        replies = self._streams[stream]
        replies.waits.append(wait_ns)
        replies.add(reply)
        if len(replies.waits) >= _BUFFERED_WAITS:
            self._reduce(replies)

    def _reduce(self, replies: _StreamReplies) -> None:
        waits, replies.waits = replies.waits, array("q")
        with self._lock:
            self._waits.add(np.array([waits], dtype=np.int64))

    def timing(self) -> ReplyTiming:
        """Return the sums; complete when no stream adds any more."""
        served: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for replies in self._streams:
            self._reduce(replies)
            failed.update(replies.failed)
            for provenance, number in replies.served.values():
                served[_describe(provenance)] += number
        timed, batched = sum(r.timed for r in self._streams), sum(r.batched for r in self._streams)
        totals = [sum(parts) for parts in zip(*(r.parts_ns for r in self._streams), strict=True)]
        means = {name: total / timed for name, total in zip(TIME_PARTS, totals, strict=False) if total}
        rows = sum(r.rows for r in self._streams) / batched if batched else None
        return ReplyTiming(self._waits[0], served, failed, means, rows)


def _describe(provenance: Any) -> str:
    if provenance is None:
        return "unknown"
    server, reason = getattr(provenance, "server", ""), getattr(provenance, "fallback_reason", "")
    backend = str(getattr(provenance, "backend", provenance))
    return backend + (f" at {server}" if server else "") + (f" (fallback: {reason})" if reason else "")
