"""A request on its way through a router, and each time that it is sent."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any, Final

from evtfw.core.completion import Cancellable, Completion
from evtfw.core.errors import DeadlineExceeded, ExternalError, ServerUnavailable
from evtfw.external.contract import Reply, Request, Tensors
from evtfw.external.routing.server import Server

NEVER: Final = 1 << 62


class Call:
    """A request in the router, from its arrival to its end. Only the router's state machine changes it.

    Attributes:
        request: as it came; sent unchanged each time.
        done: who waits.
        order: requests are served by it: larger priorities first, then by arrival.
        since_ns: when it came.
        deadline_ns: when it ends at the latest; `NEVER` without one.
        due_ns: when to look at it again.
        wake_ns: when its back-off is over; `NEVER` if it is not backing off.
        hedge_ns: when to ask a second server; `NEVER` if not at all.
        sends: how often it was sent.
        active: what is in flight, by its number. Weakly: a backend that lets go of it ends it.
        failed: numbers of the servers that failed since its last back-off.
        reasons: what went wrong so far.
        last_error: the last of it; None before the first.
        was_late: a server did not answer it in time.
        is_over: it ended.
    """

    __slots__ = (
        "__weakref__", "_cancelled", "active", "deadline_ns", "done", "due_ns", "failed", "hedge_ns", "is_over",
        "last_error", "order", "reasons", "request", "sends", "since_ns", "wake_ns", "was_late",
    )  # fmt: skip

    def __init__(
        self,
        request: Request | Tensors,
        done: Completion,
        order: tuple[int, int],
        since_ns: int,
        cancelled: Callable[[Call], None],
    ) -> None:
        self.request = request
        self.done = done
        self.order = order
        self.since_ns = since_ns
        self.deadline_ns = NEVER if done.deadline_ns is None else done.deadline_ns
        self.due_ns = self.deadline_ns
        self.wake_ns = self.hedge_ns = NEVER
        self.sends = 0
        self.active: dict[int, weakref.ref[Attempt]] = {}
        self.failed: tuple[int, ...] = ()
        self.reasons: list[str] = []
        self.last_error: BaseException | None = None
        self.is_over = self.was_late = False
        self._cancelled = cancelled

    def cancel(self) -> None:
        """Whoever waited gave up."""
        self._cancelled(self)

    @property
    def patience_ns(self) -> int:
        """Until when it waits for a server to come back: a fifth of its time is left to a fallback."""
        return (
            self.deadline_ns
            if self.deadline_ns == NEVER
            else self.deadline_ns - (self.deadline_ns - self.since_ns) // 5
        )

    def plan(self) -> None:
        """Find out when to look at it again."""
        due_ns = min(self.deadline_ns, self.wake_ns, self.hedge_ns)
        for reference in self.active.values():
            attempt = reference()
            if attempt is not None and attempt.limit_ns < due_ns:
                due_ns = attempt.limit_ns
        self.due_ns = due_ns

    def final_reply(self, reply: Reply, sent_ns: int) -> Reply:
        """Return the reply with the number of attempts and the time spent waiting in the router."""
        waited_ns = sent_ns - self.since_ns
        if self.sends <= 1 and waited_ns <= 0:
            return reply
        provenance = reply.provenance
        if self.sends > 1:
            provenance = dataclasses.replace(provenance, attempts=provenance.attempts + self.sends - 1)
        times = reply.times._replace(queue_ns=reply.times.queue_ns + max(0, waited_ns))
        return Reply(reply.outputs, provenance, times, reply.nonfinite)

    def final_error(self, url: str) -> BaseException:
        """Return the last error, with all reasons if there were several."""
        error = self.last_error or ServerUnavailable(f"{url}: no server took the request")
        if len(self.reasons) <= 1 or not isinstance(error, (ServerUnavailable, DeadlineExceeded)):
            return error
        last: ExternalError = type(error)(f"{url}: no reply after {self.sends} attempts: {'; '.join(self.reasons)}")
        last.__cause__ = error
        return last


class Attempt(Completion):
    """One time that a request is sent; what the server's backend ends.

    Attributes:
        call: the request.
        server: who was asked.
        sent_ns: when.
        limit_ns: when the router gives it up; `NEVER` without a limit.
        generation: of the server's breaker.
        is_probe: whether it finds out if the server serves again.
        is_hedge: whether another one was in flight when it was sent.
        reply, error: how it ended.
    """

    __slots__ = (
        "_ended", "_work", "call", "error", "generation", "is_hedge", "is_probe", "limit_ns", "number", "reply",
        "sent_ns", "server",
    )  # fmt: skip

    def __init__(
        self, call: Call, server: Server, sent_ns: int, limit_ns: int, ended: Callable[[Attempt], None]
    ) -> None:
        self._ended = [ended]  # list.pop is atomic: whoever gets the callback ends the attempt
        self._work: weakref.ref[Cancellable] | None = None
        self.deadline_ns = None if limit_ns == NEVER else limit_ns
        self.call = call
        self.server = server
        self.sent_ns = sent_ns
        self.limit_ns = limit_ns
        self.number = call.sends
        self.generation = server.breaker.generation
        self.is_probe = self.is_hedge = False
        self.reply: Any = None
        self.error: BaseException | None = None

    @property
    def name(self) -> str:
        """See `Completion.name`."""
        return self.call.done.name

    @property
    def reference(self) -> weakref.ref[Attempt]:
        """Does not keep it alive."""
        return weakref.ref(self)

    @property
    def is_done(self) -> bool:
        """See `Completion.is_done`."""
        return not self._ended

    def on_cancel(self, work: Cancellable) -> None:
        """See `Completion.on_cancel`."""
        self._work = weakref.ref(work)

    def send(self) -> None:
        """Submit it, unless it was given up meanwhile."""
        if not self._ended:
            return
        try:
            self.server.backend.submit(self.call.request, self)
        except BaseException as error:
            self.fail(error)

    def abandon(self) -> bool:
        """End it without an outcome. Returns False if there is one already."""
        try:
            self._ended.pop()
        except IndexError:
            return False
        return True

    def stop(self) -> None:
        """Tell who works on it that it was abandoned."""
        work = self._work() if self._work is not None else None
        if work is not None:
            work.cancel()

    def _finish(self, reply: Any, error: BaseException | None) -> bool:
        try:
            ended = self._ended.pop()
        except IndexError:
            self.server.late_replies += 1
            return False
        self.reply, self.error = reply, error
        ended(self)
        return True
