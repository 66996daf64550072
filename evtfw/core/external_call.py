"""The scheduler's completion: one external request of one event in flight."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from evtfw.core.completion import Cancellable, Completion
from evtfw.core.errors import Cancelled, DeadlineExceeded

if TYPE_CHECKING:
    from evtfw.core.stream import Stream


class PendingCalls:
    """The external requests of a stream's event, by external module; guarded by the stream's lock.

    ``ticket[x]`` is the number of the request in flight or 0. Tickets are never used twice, so that a late reply of an
    earlier event is told from the current one.
    """

    __slots__ = ("deadline_ns", "error", "last_ticket", "replied_ns", "reply", "submitted_ns", "ticket", "work")

    def __init__(self, count: int) -> None:
        self.ticket = [0] * count
        self.last_ticket = [0] * count
        self.reply: list[Any] = [None] * count
        self.error: list[BaseException | None] = [None] * count
        self.deadline_ns = [0] * count
        self.submitted_ns = [0] * count
        self.replied_ns = [0] * count
        self.work: list[weakref.ref[Cancellable] | None] = [None] * count


class EventCompletion(Completion):
    """Resolves one request: checks its ticket, keeps the outcome and makes ``produce`` ready."""

    __slots__ = ("_external", "_stream", "_ticket")

    def __init__(self, stream: Stream, external: int, ticket: int, deadline_ns: int) -> None:
        self._stream = stream
        self._external = external
        self._ticket = ticket
        self.deadline_ns = deadline_ns

    @property
    def name(self) -> str:
        """Module and event, for messages."""
        stream = self._stream
        node = stream.plan.nodes[stream.plan.externals[self._external]]
        return f"module '{node.label}' in event {stream.event.id}" if not self.is_done else f"module '{node.label}'"

    @property
    def is_done(self) -> bool:
        """See `Completion.is_done`."""
        return self._stream.calls.ticket[self._external] != self._ticket

    def on_cancel(self, work: Cancellable) -> None:
        """See `Completion.on_cancel`."""
        stream = self._stream
        with stream.lock:
            if stream.calls.ticket[self._external] == self._ticket:
                stream.calls.work[self._external] = weakref.ref(work)

    def _finish(self, reply: Any, error: BaseException | None) -> bool:
        stream, external = self._stream, self._external
        calls = stream.calls
        with stream.lock:
            if calls.ticket[external] != self._ticket:
                stream.scheduler.count_refused()
                return False
            calls.ticket[external] = 0
            calls.reply[external] = reply
            if error is not None:
                calls.error[external] = error
            if stream.is_observed:
                calls.replied_ns[external] = stream.scheduler.clock.now_ns()
            segment = stream.produce_segments[external]
            left = stream.counters[segment] - 1
            stream.counters[segment] = left
        if not left:  # else its own acquire, or something else that produce needs, is still running
            stream.submit(stream.resumers[segment])
        return True

    def __del__(self) -> None:
        if self._stream.calls.ticket[self._external] == self._ticket:
            super().__del__()


def abandon(stream: Stream, external: int, error: BaseException) -> bool:
    """End a request from the scheduler's side: its deadline passed, or its event is of no use any more."""
    calls = stream.calls
    with stream.lock:
        ticket = calls.ticket[external]
        reference = calls.work[external]
    if not ticket:
        return False
    ended = EventCompletion(stream, external, ticket, 0).fail(error)
    work = reference() if reference is not None else None
    if ended and work is not None:
        work.cancel()
    return ended


def deadline_error(stream: Stream, external: int, timeout_s: float) -> DeadlineExceeded:
    """The error of a request that met its deadline."""
    node = stream.plan.nodes[stream.plan.externals[external]]
    return DeadlineExceeded(
        f"no reply to '{node.label}' within {timeout_s:g} s; raise its timeout_s, or give the backend a fallback"
    )


def cancelled_error(stream: Stream, external: int) -> Cancelled:
    """The error of a request whose event was abandoned."""
    node = stream.plan.nodes[stream.plan.externals[external]]
    return Cancelled(f"module '{node.label}': the event was abandoned while the request was in flight")
