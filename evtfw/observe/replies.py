"""Measures external requests: how long they took, who served them, and what became of them."""

from __future__ import annotations

import dataclasses
import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from evtfw.observe.histogram import DurationHistogram, HistogramStack

_BUFFERED_WAITS = 256
_MOST_PROVENANCES = 64  # objects; a backend may make an equal one for each reply
TIME_PARTS = ("serialise", "network", "queue", "compute", "held")


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceTiming:
    """Replies of an emulated device: what it would have taken there, beside what it took here.

    Args:
        name: of the device; empty if the replies do not say.
        replies: how many.
        mean_device_ns: modelled: transfers and computing on the device.
        mean_queue_ns: modelled: waiting there.
        mean_wait_ns: measured: from submission to the reply.
        late: replies that came after the device would have answered, of those that keep its pace.
        mean_late_ns: by how much, of all replies.
    """

    name: str
    replies: int
    mean_device_ns: float
    mean_queue_ns: float
    mean_wait_ns: float
    late: int
    mean_late_ns: float

    @property
    def slowdown(self) -> float:
        """How many times longer a reply took here than it would have taken there."""
        return self.mean_wait_ns / max(1.0, self.mean_device_ns + self.mean_queue_ns)


@dataclasses.dataclass(frozen=True, slots=True)
class ServerTiming:
    """The replies of one server, or of one backend on this machine.

    Args:
        name: the backend, its server, and for a fallback the reason that came first.
        replies: how many.
        mean_wait_ns: from submission to the reply.
        mean_parts_ns: where replies say that their time went, by `TIME_PARTS`; only parts that are not zero.
        mean_batch_rows: rows of the batches that requests were part of, seen from a request; None if not told.
        device: if it emulates one.
    """

    name: str
    replies: int
    mean_wait_ns: float
    mean_parts_ns: Mapping[str, float]
    mean_batch_rows: float | None
    device: DeviceTiming | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyTiming:
    """All requests of an external-work module.

    Args:
        wait: from submission to the end of the request, failed ones included.
        servers: who answered, the most busy first.
        failed: number of requests that ended in an error, by its type.
        mean_parts_ns, mean_batch_rows: as in `ServerTiming`, over all servers.
    """

    wait: DurationHistogram
    servers: tuple[ServerTiming, ...]
    failed: Mapping[str, int]
    mean_parts_ns: Mapping[str, float]
    mean_batch_rows: float | None

    @property
    def devices(self) -> tuple[DeviceTiming, ...]:
        """The emulated devices among those who answered."""
        return tuple(server.device for server in self.servers if server.device is not None)

    @property
    def served(self) -> dict[str, int]:
        """Number of replies by who answered."""
        return {server.name: server.replies for server in self.servers}


class _Sums:
    """What replies of equal provenance add up to."""

    __slots__ = ("batched", "compute_ns", "device_ns", "device_queue_ns", "device_wait_ns", "emulated", "held_ns",
                 "late", "late_ns", "network_ns", "provenance", "queue_ns", "replies", "rows", "serialise_ns", "timed",
                 "wait_ns")  # fmt: skip

    def __init__(self, provenance: Any) -> None:
        self.provenance = provenance
        self.replies = self.wait_ns = self.timed = self.rows = self.batched = 0
        self.serialise_ns = self.network_ns = self.queue_ns = self.compute_ns = self.held_ns = 0
        self.emulated = self.device_ns = self.device_queue_ns = self.device_wait_ns = self.late = self.late_ns = 0

    def add_times(self, times: Any, wait_ns: int) -> None:
        self.serialise_ns += times.serialise_ns
        self.network_ns += times.network_ns
        self.queue_ns += times.queue_ns
        self.compute_ns += times.compute_ns
        self.timed += 1
        if times.batch_rows:
            self.rows += times.batch_rows
            self.batched += 1
        if getattr(times, "device_ns", 0):
            self.emulated += 1
            self.device_ns += times.device_ns
            self.device_queue_ns += times.device_queue_ns
            self.device_wait_ns += wait_ns
            self.held_ns += times.held_ns
            self.late += times.late_ns > 0
            self.late_ns += times.late_ns

    def add(self, other: _Sums) -> None:
        for name in self.__slots__:
            if name != "provenance":
                setattr(self, name, getattr(self, name) + getattr(other, name))

    def mean_parts_ns(self) -> dict[str, float]:
        totals = {name: getattr(self, f"{name}_ns") for name in TIME_PARTS}
        return {name: total / self.timed for name, total in totals.items() if total}

    def mean_batch_rows(self) -> float | None:
        return self.rows / self.batched if self.batched else None

    def device(self) -> DeviceTiming | None:
        n = self.emulated
        if not n:
            return None
        name = getattr(self.provenance, "device", "")
        means = (self.device_ns / n, self.device_queue_ns / n, self.device_wait_ns / n)
        return DeviceTiming(name, n, *means, self.late, self.late_ns / n)


class _StreamReplies:
    """Sums of one stream, which no other thread touches: no lock is needed."""

    __slots__ = ("failed", "replies", "served", "waits")

    def __init__(self) -> None:
        self.waits = array("q")
        self.replies: list[tuple[Any, Any, int]] = []
        self.served: dict[int, _Sums] = {}
        self.failed: Counter[str] = Counter()

    def add(self, reply: Any, wait_ns: int) -> None:
        """Only keep it: sums of many at once find their code in the processor's cache."""
        self.waits.append(wait_ns)
        if isinstance(reply, BaseException):
            self.failed[type(reply).__name__] += 1
        else:  # The contract of backends is another room's: whatever has its attributes is understood.
            self.replies.append((getattr(reply, "provenance", None), getattr(reply, "times", None), wait_ns))

    def reduce(self) -> array[int]:
        """Add up what was kept, and return its waits."""
        for provenance, times, wait_ns in self.replies:
            self._add(provenance, times, wait_ns)
        self.replies.clear()
        waits, self.waits = self.waits, array("q")
        return waits

    def _add(self, provenance: Any, times: Any, wait_ns: int) -> None:
        sums = self.served.get(id(provenance))
        if sums is None:
            if len(self.served) >= _MOST_PROVENANCES:
                self.compact()
            sums = self.served.get(id(provenance))
        if sums is None:
            sums = self.served[id(provenance)] = _Sums(provenance)
        sums.replies += 1
        sums.wait_ns += wait_ns
        if times is not None:
            sums.add_times(times, wait_ns)

    def compact(self) -> None:
        """Join provenances that are different objects and name the same server."""
        self.served = {id(sums.provenance): sums for sums in _joined(self.served.values()).values()}


def _joined(all_sums: Iterable[_Sums]) -> dict[tuple[str, str, bool], _Sums]:
    """Add up what has the same backend, the same server, and is, or is not, a fallback; new objects."""
    found: dict[tuple[str, str, bool], _Sums] = {}
    for sums in all_sums:
        by = sums.provenance
        backend = "unknown" if by is None else str(getattr(by, "backend", by))
        key = (backend, getattr(by, "server", ""), bool(getattr(by, "fallback_reason", "")))
        if key not in found:
            found[key] = _Sums(by)
        found[key].add(sums)
    return found


class ReplyTally:
    """Sums up the requests of one module."""

    def __init__(self, streams: int) -> None:
        self._lock = threading.Lock()
        self._streams = [_StreamReplies() for _ in range(streams)]
        self._waits = HistogramStack(1)

    def add(self, stream: int, wait_ns: int, reply: Any) -> None:
        """Count a request that ended with a reply or an exception."""
        replies = self._streams[stream]
        replies.add(reply, wait_ns)
        if len(replies.waits) >= _BUFFERED_WAITS:
            self._reduce(replies)

    def _reduce(self, replies: _StreamReplies) -> None:
        waits = np.array([replies.reduce()], dtype=np.int64)
        with self._lock:
            self._waits.add(waits)

    def timing(self) -> ReplyTiming:
        """Return the sums; complete when no stream adds any more."""
        failed: Counter[str] = Counter()
        for replies in self._streams:
            self._reduce(replies)
            failed.update(replies.failed)
        servers = _joined(sums for replies in self._streams for sums in replies.served.values()).values()
        total = _Sums(None)
        for sums in servers:
            total.add(sums)
        timings = sorted(map(_server_timing, servers), key=lambda server: -server.replies)
        return ReplyTiming(self._waits[0], tuple(timings), failed, total.mean_parts_ns(), total.mean_batch_rows())


def _server_timing(sums: _Sums) -> ServerTiming:
    mean_wait_ns = sums.wait_ns / max(1, sums.replies)
    return ServerTiming(
        _describe(sums.provenance),
        sums.replies,
        mean_wait_ns,
        sums.mean_parts_ns(),
        sums.mean_batch_rows(),
        sums.device(),
    )


def _describe(provenance: Any) -> str:
    if provenance is None:
        return "unknown"
    server, reason = getattr(provenance, "server", ""), getattr(provenance, "fallback_reason", "")
    backend = str(getattr(provenance, "backend", provenance))
    return (
        backend
        + (f" at {server}" if server and server not in backend else "")
        + (f" (fallback: {reason})" if reason else "")
    )
