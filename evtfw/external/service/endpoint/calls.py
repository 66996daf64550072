"""What all calls share: how many there may be, how long their message may take, and how their errors are told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from evtfw.core.errors import BadRequest, DeadlineExceeded
from evtfw.external.errors import AccessDenied, Overloaded
from evtfw.external.service.endpoint.errors import NotImplementedHere, status_of
from evtfw.external.service.endpoint.rpc import Call, Handler
from evtfw.external.service.wire.limits import Limits

Behaviour: TypeAlias = Callable[[bytes, Call], bytes | None]
"""Returns the reply to a message, or None if it will end the call later; errors that it raises end the call."""


class Gate:
    """Counts what goes on and refuses what is too much, at once. Only used in the server's thread.

    Args:
        limit: how much may go on.
        what: goes on, for the message.
    """

    def __init__(self, limit: int, what: str) -> None:
        self.limit = limit
        self.used = 0
        self._what = what

    def take(self, amount: int = 1) -> None:
        """Count. Raises Overloaded if it would be too much; a single large amount passes if alone."""
        if self.used and self.used + amount > self.limit:
            raise Overloaded(f"the service has too many {self._what}; try again later or at another server")
        self.used += amount

    def give(self, amount: int = 1) -> None:
        """End what `take` counted."""
        self.used -= amount


class Arrivals:
    """Reads the messages of calls, with regard to the memory that those may take. Only used in the server's thread.

    gRPC does not say how long a message is before all of it is there. So a few messages may take their time; while
    there are so many, each further one must arrive soon. Then what half-sent messages hold is bounded by these few, and
    by what the network brings in that time.

    Args:
        limits: how many may take their time, and how much of it.
    """

    def __init__(self, limits: Limits) -> None:
        self._patient = limits.arriving
        self._receive_s = limits.receive_s
        self._crowded_s = min(limits.receive_s, limits.crowded_s)
        self._reading: set[Call] = set()

    def read(self, call: Call, then: Callable[[Call, bytes | None], object]) -> None:
        """Give a call's message to ``then``, None if there is none; or end the call if it does not come in time."""
        reading = self._reading
        limit_s, late = (
            (self._receive_s, self._late) if len(reading) < self._patient else (self._crowded_s, self._crowded)
        )
        reading.add(call)
        call.at_end(functools.partial(reading.discard, call))

        def arrived(message: bytes | None) -> None:
            reading.discard(call)
            then(call, message)

        call.read(arrived, limit_s, functools.partial(late, call))

    def _late(self, call: Call) -> None:
        end_with(call, DeadlineExceeded(f"the request did not arrive within {self._receive_s:g} s"))

    def _crowded(self, call: Call) -> None:
        end_with(
            call,
            Overloaded(
                f"the request did not arrive within {self._crowded_s:g} s, and {self._patient} others are on their way "
                f"already; try again later or at another server"
            ),
        )


def is_admitted(call: Call, gate: Gate) -> bool:
    """Whether there is room for the call, which then holds its place to its end; it is refused otherwise."""
    try:
        gate.take()
    except Overloaded as error:
        end_with(call, error)
        return False
    call.at_end(gate.give)
    return True


def unary(behaviour: Behaviour, gate: Gate, arrivals: Arrivals) -> Handler:
    """Return the handler of a call with one message each way; the call is counted before its message is read."""

    def handle(call: Call) -> None:
        if is_admitted(call, gate):
            arrivals.read(call, answer)

    def answer(call: Call, message: bytes | None) -> None:
        try:
            if message is None:
                raise BadRequest("the call has no message")
            reply = behaviour(message, call)
        except Exception as error:
            end_with(call, error)
        else:
            if reply is not None:
                call.finish(reply)

    return handle


def end_with(call: Call, error: BaseException, model: Any = None) -> None:
    """End a call with the status of an error."""
    call.fail(*status_of(error, model))


def refusal(error: Exception) -> Handler:
    """Return a handler for calls that are refused whatever they say."""
    return functools.partial(end_with, error=error)


UNAUTHENTICATED = refusal(AccessDenied("the call has no valid token: send the metadata 'authorization: Bearer TOKEN'"))
UNKNOWN = refusal(NotImplementedHere("this service has no such method"))
