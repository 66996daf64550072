"""When a device would have answered: the queue before it, its pipeline and its link. Modelled time, computed at once.

A request is cut into calls. Each is brought over the link of a device, runs through a kernel of it, and is taken back:

* the link is held for bytes / bandwidth, in each direction by one call at a time; ``fixed_s`` delays and holds nothing;
* a kernel takes the next row (or fixed call) an initiation interval after the one before, and the result is there after
  the latency: n rows hold the kernel for n intervals and are done after the latency and n - 1 intervals;
* all come in order of arrival; a call goes to the device where it would start first.

With one kernel and n clients, each of which asks again when it was answered, that makes min(n / latency, 1 / interval)
requests in a second, and an M/D/1 queue where requests come at random. Everything is decided when a request arrives,
since nothing that comes later can overtake it; so no timer is needed, and no timer's delay adds up in the queue. A
request that is given up is computed by the device all the same.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from evtfw.external.emulator.device.description import Device

_MOST_REMEMBERED: Final = 4096


class DeviceTimes(NamedTuple):
    """What a device would have done with a request, in nanoseconds.

    Args:
        start_ns: when its first row entered a kernel.
        finish_ns: when its last result was back in the host's memory.
        alone_ns: what transfers and computing take on an idle device.
        queue_ns: what it waited for others: from arrival to `finish_ns` this and `alone_ns` passed.
    """

    start_ns: int
    finish_ns: int
    alone_ns: int
    queue_ns: int


class _Call(NamedTuple):
    """A part of a request that is one call of a device.

    Args:
        rows: that are transferred.
        hold_ns: for which a kernel takes nothing else.
        compute_ns: until its last result is there.
    """

    rows: int
    hold_ns: int
    compute_ns: int


class _Link:
    """One direction of a link: one transfer at a time, in the first gap that is long enough."""

    __slots__ = ("_begins", "_bytes_per_s", "_ends")

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._begins: list[int] = []  # of the times when it is held, in order; neighbours are joined
        self._ends: list[int] = []

    def begin_ns(self, ready_ns: int, size_bytes: float) -> tuple[int, int]:
        """Return when a transfer begins that is ready at this time, and how long it takes."""
        if self._bytes_per_s is None or not size_bytes:
            return ready_ns, 0
        takes_ns = round(size_bytes * 1e9 / self._bytes_per_s)
        begin_ns = ready_ns
        for number in range(bisect.bisect_right(self._ends, ready_ns), len(self._begins)):
            if begin_ns + takes_ns <= self._begins[number]:
                break
            begin_ns = self._ends[number]
        return begin_ns, takes_ns

    def hold(self, begin_ns: int, takes_ns: int) -> int:
        """Take the link for a transfer; return when it ends."""
        end_ns = begin_ns + takes_ns
        if takes_ns:
            number = bisect.bisect_left(self._begins, begin_ns)
            if number < len(self._begins) and self._begins[number] == end_ns:
                end_of_both = self._ends.pop(number)
                self._begins.pop(number)
            else:
                end_of_both = end_ns
            if number and self._ends[number - 1] == begin_ns:
                self._ends[number - 1] = end_of_both
            else:
                self._begins.insert(number, begin_ns)
                self._ends.insert(number, end_of_both)
        return end_ns

    def forget(self, now_ns: int) -> None:
        """Nothing will be asked for any time before now."""
        past = bisect.bisect_right(self._ends, now_ns)
        if past:
            del self._begins[:past], self._ends[:past]


class _OneDevice:
    """A link and the kernels behind it."""

    __slots__ = ("_back", "_fixed_ns", "_free_ns", "_there")

    def __init__(self, device: Device) -> None:
        self._fixed_ns = round(device.transfer.fixed_s * 1e9)
        self._there = _Link(device.transfer.to_device_bytes_per_s)
        self._back = _Link(device.transfer.from_device_bytes_per_s)
        self._free_ns = [0] * device.kernels

    def start_ns(self, now_ns: int, size_bytes: float) -> int:
        """Return when a call would enter a kernel."""
        begin_ns, takes_ns = self._there.begin_ns(now_ns, size_bytes)
        return max(begin_ns + takes_ns + self._fixed_ns, min(self._free_ns))

    def run(self, now_ns: int, call: _Call, bytes_there: float, bytes_back: float) -> tuple[int, int]:
        """Take a call; return when it enters a kernel and when its results are back."""
        arrived_ns = self._there.hold(*self._there.begin_ns(now_ns, bytes_there)) + self._fixed_ns
        free_ns = min(self._free_ns)
        start_ns = max(arrived_ns, free_ns)
        self._free_ns[self._free_ns.index(free_ns)] = start_ns + call.hold_ns
        done_ns = start_ns + call.compute_ns
        return start_ns, self._back.hold(*self._back.begin_ns(done_ns, bytes_back)) + self._fixed_ns

    def forget(self, now_ns: int) -> None:
        self._there.forget(now_ns)
        self._back.forget(now_ns)


class DeviceClock:
    """Tells when a device would have answered each request. May be called from any thread.

    Args:
        device: its description.
        values_there, values_back: numbers in a row of the inputs and of the outputs.
        bytes_there, bytes_back: bytes of a row, where the description does not say how large a number is.
    """

    def __init__(
        self, device: Device, *, values_there: int = 0, values_back: int = 0, bytes_there: int = 0, bytes_back: int = 0
    ) -> None:
        self.device = device
        value_bytes = device.transfer.value_bytes
        self._bytes_there = values_there * value_bytes if value_bytes else bytes_there
        self._bytes_back = values_back * value_bytes if value_bytes else bytes_back
        self._lock = threading.Lock()
        self._devices = self._idle()
        self._alone_ns: dict[int, int] = {}
        self._busy_ns = 0

    @property
    def busy_ns(self) -> int:
        """For how long all requests so far hold kernels, summed over these."""
        return self._busy_ns

    @property
    def capacity(self) -> int:
        """How many requests of one row must be under way to keep all kernels busy."""
        device = self.device
        in_one = -(-self.alone_ns(1) // max(1, round(device.interval_ns)))
        return max(1, in_one) * device.kernels * device.devices

    def alone_ns(self, rows: int) -> int:
        """Return what transfers and computing take if nothing else is asked."""
        found = self._alone_ns.get(rows)
        if found is None:
            if len(self._alone_ns) >= _MOST_REMEMBERED:
                self._alone_ns.clear()
            found = self._alone_ns[rows] = self._run(self._idle(), 0, rows)[1]
        return found

    def alone(self, rows: int) -> int:
        """Count a request as if nothing else was asked, now or before; return what it takes."""
        self._hold(rows)
        return self.alone_ns(rows)

    def admit(self, now_ns: int, rows: int) -> DeviceTimes:
        """Return the times of a request that arrives now, behind those before it. Time must not go back."""
        alone_ns = self.alone_ns(rows)
        with self._lock:
            for device in self._devices:
                device.forget(now_ns)
            start_ns, finish_ns = self._run(self._devices, now_ns, rows)
        self._hold(rows)
        return DeviceTimes(start_ns, finish_ns, alone_ns, max(0, finish_ns - now_ns - alone_ns))

    def _idle(self) -> list[_OneDevice]:
        return [_OneDevice(self.device) for _ in range(self.device.devices)]

    def _hold(self, rows: int) -> None:
        held_ns = sum(call.hold_ns for call in self._calls(rows))
        with self._lock:
            self._busy_ns += held_ns

    def _run(self, devices: list[_OneDevice], now_ns: int, rows: int) -> tuple[int, int]:
        starts, ends = [], []
        for call in self._calls(rows):
            there, back = call.rows * self._bytes_there, call.rows * self._bytes_back
            device = devices[0] if len(devices) == 1 else min(devices, key=lambda one: one.start_ns(now_ns, there))
            start_ns, finish_ns = device.run(now_ns, call, there, back)
            starts.append(start_ns)
            ends.append(finish_ns)
        return min(starts), max(ends)

    def _calls(self, rows: int) -> Iterator[_Call]:
        device, batch = self.device, self.device.batch
        latency_ns, interval_ns = device.latency_ns, device.interval_ns
        most = batch.rows or max(1, rows)
        for first in range(0, rows, most):
            if batch.fixed:
                yield _Call(most, round(interval_ns), round(latency_ns))
            else:
                number = min(most, rows - first)
                yield _Call(number, round(number * interval_ns), round(latency_ns + (number - 1) * interval_ns))
