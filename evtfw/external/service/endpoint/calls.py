"""What all calls share: how many there may be, how long their message may take, and how their errors are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import grpc
import grpc.aio

from evtfw.core.errors import BadRequest, DeadlineExceeded
from evtfw.external.errors import AccessDenied, Overloaded
from evtfw.external.service.endpoint.errors import NotImplementedHere, status_of

Context: TypeAlias = Any
"""A ``grpc.aio.ServicerContext``."""
Behaviour: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]


class Gate:
    """Counts what goes on and refuses what is too much, at once. Only used in the loop's thread.

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

    @contextlib.contextmanager
    def enter(self, amount: int = 1) -> Iterator[None]:
        """Count while inside. Raises Overloaded as `take`."""
        self.take(amount)
        try:
            yield
        finally:
            self.give(amount)


def unary(behaviour: Behaviour, gate: Gate, receive_s: float) -> Any:
    """Return gRPC's handler of a call with one message each way.

    To gRPC it is a stream of messages in: so the call is counted before its message is read, and one whose message
    does not come in time is ended. On the wire that is the same.
    """

    async def handle(_: AsyncIterator[bytes], context: Context) -> bytes:
        try:
            with gate.enter():
                return await behaviour(await receive(context, receive_s), context)
        except Exception as error:
            await end_with(context, error)
            raise

    return grpc.stream_unary_rpc_method_handler(handle)


async def receive(context: Context, receive_s: float) -> bytes:
    """Return the message of a call.

    Raises:
        DeadlineExceeded: it did not come in time.
        BadRequest: there is none.
    """
    try:
        async with asyncio.timeout(receive_s):
            message = await context.read()
    except TimeoutError:
        raise DeadlineExceeded(f"the request did not arrive within {receive_s:g} s") from None
    if message is grpc.aio.EOF:
        raise BadRequest("the call has no message")
    return bytes(message)


async def end_with(context: Context, error: Exception, model: Any = None) -> None:
    """End a call with the status of an error."""
    if isinstance(error, grpc.aio.BaseError):  # ended already, or the server is: gRPC knows how to go on
        raise error
    code, message = status_of(error, model)
    await context.abort(code, message)


def refusal(error: Exception) -> Any:
    """Return a handler for calls that are refused whatever they say."""

    async def handle(_: AsyncIterator[bytes], context: Context) -> None:
        await end_with(context, error)

    return grpc.stream_stream_rpc_method_handler(handle)


UNAUTHENTICATED = refusal(AccessDenied("the call has no valid token: send the metadata 'authorization: Bearer TOKEN'"))
UNKNOWN = refusal(NotImplementedHere("this service has no such method"))
