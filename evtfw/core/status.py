"""What a running job is doing, as text: for SIGUSR1 and for messages about jobs that hang."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evtfw.core.runtime import Runtime
    from evtfw.core.scheduler import Scheduler
    from evtfw.core.stream import Stream


def describe_activity(scheduler: Scheduler, runtime: Runtime) -> str:
    """Describe streams, pending external requests and threads, a line each.

    Nothing is noted for this while a job runs: which module a thread is in is read off its stack.
    """
    activity = scheduler.activity()
    head = f"events: {activity.events_started} started, {activity.events_ended} ended"
    lines = [f"{head}; {activity.busy_threads} of {runtime.threads} threads busy"]
    inside = dict(_threads_by_stream())
    lines += [_describe_stream(stream, scheduler, inside) for stream in scheduler.streams]
    lines += list(_describe_other_threads(inside))
    return "\n".join(lines)


def _threads_by_stream() -> Iterator[tuple[int, tuple[int, str, str]]]:
    """Thread identifiers with the stream they serve, the module they are in, and the innermost line."""
    for ident, frame in sys._current_frames().items():
        found = _find_stream(frame)
        if found is not None:
            stream, label = found
            yield ident, (stream, label, f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")


_METHODS = ("produce", "produce_bulk", "filter", "analyze", "write", "acquire")


def _find_stream(frame: FrameType) -> tuple[int, str] | None:
    label = "the scheduler"
    current: FrameType | None = frame
    while current is not None:
        owner: Any = current.f_locals.get("self")
        if current.f_code.co_name in _METHODS and hasattr(owner, "label"):
            label = f"module '{owner.label}' ({current.f_code.co_name})"
        if current.f_globals.get("__name__") == "evtfw.core.stream" and hasattr(owner, "number"):
            return int(owner.number), label
        current = current.f_back
    return None


def _describe_stream(stream: Stream, scheduler: Scheduler, inside: dict[int, tuple[int, str, str]]) -> str:
    head = f"stream {stream.number}:"
    if stream.is_retired:
        return f"{head} ended"
    in_event = f" event {stream.event.id}" if stream.block is not None else ""
    names = {t.ident: t.name for t in threading.enumerate()}
    running = [
        f"{names.get(i, i)} in {label}, {line}"
        for i, (number, label, line) in inside.items()
        if number == stream.number
    ]
    pending = [
        f"'{scheduler.plan.nodes[scheduler.plan.externals[x]].label}' waits for its reply since "
        f"{(scheduler.clock.now_ns() - stream.calls.submitted_ns[x]) * 1e-9:.3f} s"
        for x, ticket in enumerate(stream.calls.ticket)
        if ticket
    ]
    if not running and not pending:
        return f"{head}{in_event} " + ("ready to run" if stream.block is not None else "waits for the source")
    return f"{head}{in_event} {'; '.join(running + pending)}"


def _describe_other_threads(inside: dict[int, tuple[int, str, str]]) -> Iterator[str]:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if thread.ident not in inside and frame is not None:
            yield f"thread {thread.name}: {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
