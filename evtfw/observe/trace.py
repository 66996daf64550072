"""Writes what ran when as a trace for https://ui.perfetto.dev or chrome://tracing."""

from __future__ import annotations

import itertools
import json
import math
import threading
from pathlib import Path
from typing import Any

from evtfw.core.event import EventId
from evtfw.core.observer import Activity, Failure, Fate, JobInfo, Observer
from evtfw.observe.trace_file import InFlight, TraceFile

_JOB, _TRANSITIONS, _DEVICES = 1, 2, 3  # "processes" of the trace: groups of lanes
_LANES = 64  # per stream at most
_THINNED_SPACING_NS = 10_000_000


class TraceObserver(Observer):
    """Traces module calls, external waits and transitions in bounded memory.

    Every stream is a lane: a slice for the event, in it one for each module. Segments of one event that ran at the same
    time get further lanes of the stream; modules that ran for several events at once lie between events. External waits
    are asynchronous slices, with a counter of those in flight.
    What an emulated device would have done is a group of its own: modelled times, from the submission on.

    Args:
        path: the file, ``.json`` or ``.json.gz``; it appears under this name when the job has ended.
        every: trace only every n-th event.

    Raises:
        OutputError: if the file cannot be opened.
    """

    wants_modules = True
    wants_events = True

    def __init__(self, path: str | Path, *, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every={every}: it must be at least 1")
        self._every = every
        self._file = TraceFile(Path(path))

    def begin_job(self, job: JobInfo) -> None:
        """See `Observer.begin_job`."""
        self._file.open()
        self._job = job
        self._lock = threading.Lock()
        self._names = [json.dumps(n.label if n.phase != "acquire" else f"{n.label} acquire") for n in job.nodes]
        self._bulk_names = [json.dumps(f"{n.label} (bulk)") for n in job.nodes]
        self._bulks = itertools.count()
        self._started_ns = [math.inf] * job.streams
        self._events: list[EventId | None] = [None] * job.streams
        self._lanes: dict[tuple[int, int], list[int]] = {}
        self._threads: dict[int, int] = {}
        self._numbers = itertools.count()
        self._requests = itertools.count(1)
        self._in_flight = InFlight()
        self._counted_ns: dict[str, int] = {}
        self._has_devices = False
        self._add("M", "process_name", _JOB, 0, args={"name": f"{job.process}: streams"})
        self._add("M", "process_name", _TRANSITIONS, 0, args={"name": "transitions"})

    def event_started(self, stream: int, event: EventId, time_ns: int) -> None:
        """See `Observer.event_started`."""
        self._started_ns[stream] = time_ns
        self._events[stream] = event if next(self._numbers) % self._every == 0 else None

    def event_ended(self, stream: int, event: EventId, time_ns: int, fate: Fate) -> None:
        """See `Observer.event_ended`."""
        start_ns = self._started_ns[stream]
        self._started_ns[stream] = math.inf
        if self._events[stream] is None or start_ns is math.inf:
            return
        self._events[stream] = None
        lanes = self._lanes_of(_JOB, stream)
        lanes[0] = max(lanes[0], time_ns)
        self._slice(
            f'"event {event}"', _JOB, stream * _LANES, int(start_ns), lanes[0], arguments=f'{{"fate": "{fate}"}}'
        )

    def segment_ran(self, stream: int, segment: int, stamps_ns: list[int]) -> None:
        """See `Observer.segment_ran`."""
        event = self._events[stream]
        if event is None or len(stamps_ns) < 2:
            return
        lane = self._lane(_JOB, stream, stamps_ns[0], stamps_ns[-1])
        arguments = f'{{"event": "{event}", "thread": {self._thread()}}}'
        for number, start_ns, end_ns in zip(self._job.segments[segment], stamps_ns, stamps_ns[1:], strict=False):
            self._slice(self._names[number], _JOB, lane, start_ns, end_ns, arguments=arguments)

    def cpu_sampled(self, stream: int, segment: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """See `Observer.cpu_sampled`."""
        self.segment_ran(stream, segment, stamps_ns)

    def bulk_ran(self, stream: int, segment: int, events: int, stamps_ns: list[int], cpu_ns: list[int]) -> None:
        """See `Observer.bulk_ran`."""
        if next(self._bulks) % self._every:
            return
        lane = self._lane(_JOB, stream, stamps_ns[0], stamps_ns[-1])
        arguments = f'{{"events": {events}, "thread": {self._thread()}}}'
        for number, start_ns, end_ns in zip(self._job.segments[segment], stamps_ns, stamps_ns[1:], strict=False):
            self._slice(self._bulk_names[number], _JOB, lane, start_ns, end_ns, arguments=arguments)

    def replied(self, stream: int, node: int, submitted_ns: int, replied_ns: int, reply: Any) -> None:
        """See `Observer.replied`."""
        label = self._job.nodes[node].label
        with self._lock:
            self._in_flight.add(label, submitted_ns, replied_ns)
        event = self._events[stream]
        if event is None:
            return
        number, lane = next(self._requests), stream * _LANES
        ended = f"{type(reply).__name__}: {reply}" if isinstance(reply, BaseException) else "reply"
        asked = {"event": str(event)}
        self._add("b", label, _JOB, lane, submitted_ns, cat="external", id=number, args=asked)
        self._add("e", label, _JOB, lane, replied_ns, cat="external", id=number, args={"ended": ended})
        times = getattr(reply, "times", None)
        if getattr(times, "device_ns", 0):
            self._add_modelled(label, number, submitted_ns, times, asked)

    def _add_modelled(self, label: str, number: int, submitted_ns: int, times: Any, asked: dict[str, str]) -> None:
        """Show what an emulated device would have done, apart from what took time here."""
        if not self._has_devices:
            self._has_devices = True
            self._add("M", "process_name", _DEVICES, 0, args={"name": "emulated devices: modelled time"})
        start_ns = submitted_ns + times.device_queue_ns
        for name, begin_ns, length_ns in (
            (f"{label}: queue", submitted_ns, times.device_queue_ns),
            (f"{label}: device", start_ns, times.device_ns),
        ):
            if length_ns:
                about = {"cat": "modelled", "id": number}
                self._add("b", name, _DEVICES, 0, begin_ns, args={**asked, "late_ns": times.late_ns}, **about)
                self._add("e", name, _DEVICES, 0, begin_ns + length_ns, **about)

    def transition(self, name: str, label: str, where: str, stream: int | None, start_ns: int, end_ns: int) -> None:
        """See `Observer.transition`."""
        lane = self._lane(_TRANSITIONS, -1 if stream is None else stream, start_ns, end_ns)
        title = json.dumps(f"{name} {label}")
        self._slice(title, _TRANSITIONS, lane, start_ns, end_ns, arguments=json.dumps({"where": where}))

    def failed(self, stream: int, failure: Failure) -> None:
        """See `Observer.failed`."""
        if self._events[stream] is not None:
            arguments = {"event": str(failure.event), "error": str(failure.error)}
            end_ns = self._lanes_of(_JOB, stream)[0]
            self._add("i", f"{failure.label} failed", _JOB, stream * _LANES, end_ns, s="t", args=arguments)

    def tick(self, activity: Activity) -> None:
        """See `Observer.tick`."""
        self._add("C", "busy threads", _JOB, 0, activity.time_ns, args={"threads": activity.busy_threads})
        self._count_in_flight(min(self._started_ns))

    def end_job(self, result: Any) -> None:
        """See `Observer.end_job`."""
        self._count_in_flight(math.inf)
        self._file.complete({"process": self._job.process, "every": self._every})

    def _count_in_flight(self, before_ns: float) -> None:
        spacing_ns = _THINNED_SPACING_NS if self._every > 1 else 0
        with self._lock:
            for time_ns, label, number in self._in_flight.final(before_ns):
                if not spacing_ns or time_ns - self._counted_ns.get(label, -spacing_ns) >= spacing_ns:
                    self._counted_ns[label] = time_ns
                    self._add("C", f"in flight: {label}", _JOB, 0, time_ns, args={"requests": number})

    def _lanes_of(self, group: int, stream: int) -> list[int]:
        """When each lane of a stream becomes free; the first use names the lanes."""
        lanes = self._lanes.get((group, stream))
        if lanes is None:
            with self._lock:
                lanes = self._lanes.setdefault((group, stream), [])
                self._open_lane(lanes, group, stream)
        return lanes

    def _open_lane(self, lanes: list[int], group: int, stream: int) -> None:
        tid = stream * _LANES + len(lanes)
        name = f"stream {stream}" if stream >= 0 else "job"
        shown = f"{name} ({len(lanes) + 1})" if lanes else name
        self._add("M", "thread_name", group, tid, args={"name": shown})
        self._add("M", "thread_sort_index", group, tid, args={"sort_index": tid})
        lanes.append(self._job.start_ns)

    def _lane(self, group: int, stream: int, start_ns: int, end_ns: int) -> int:
        """Take the first lane that is free, so that slices that overlap lie beside each other."""
        lanes = self._lanes_of(group, stream)
        with self._lock:
            number = next((n for n, free_ns in enumerate(lanes) if free_ns <= start_ns), len(lanes))
            if number == _LANES:  # never in a real job; rather an overlap than another stream's lane
                number -= 1
            elif number == len(lanes):
                self._open_lane(lanes, group, stream)
            lanes[number] = end_ns
        return stream * _LANES + number

    def _thread(self) -> int:
        return self._threads.setdefault(threading.get_ident(), len(self._threads))

    def _slice(self, name: str, group: int, lane: int, start_ns: int, end_ns: int, *, arguments: str) -> None:
        """A complete slice; spelt out because it is written for every module call."""
        self._file.add(
            f'{{"ph": "X", "name": {name}, "pid": {group}, "tid": {lane}, '
            f'"ts": {(start_ns - self._job.start_ns) / 1000:.3f}, "dur": {(end_ns - start_ns) / 1000:.3f}, '
            f'"args": {arguments}}}'
        )

    def _add(self, phase: str, name: str, group: int, lane: int, time_ns: int | None = None, **more: Any) -> None:
        times = {} if time_ns is None else {"ts": round((time_ns - self._job.start_ns) / 1000, 3)}
        self._file.add(json.dumps({"ph": phase, "name": name, "pid": group, "tid": lane, **times, **more}))
