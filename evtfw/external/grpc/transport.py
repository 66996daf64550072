"""How a message gets into gRPC and its reply out of it.

`QueueTransport` speaks with gRPC's completion queue as gRPC's own stubs do, but without what these do beside it: a
request is written by the thread that sends it, and one thread for each connection takes all replies. Beside `grpc.aio`
on a loop thread that costs half the CPU for one small request at a time, two thirds with 16 in flight, and a third of
the changes of thread; it costs less than a blocking stub, too. Only while another thread computes in Python without a
pause, `grpc.aio` gets more small requests through (16 in flight: 3000/s instead of 1400/s), as it takes several replies
each time it gets the interpreter's lock.

It needs a module of grpcio that is not public. So it is tried before it is used, and `FutureTransport` is there for
versions that have it otherwise.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import grpc

_OK: Final = 0
_NO_FLAGS: Final = 0
_TRIAL_S: Final = 5.0
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_here = threading.local()


class StatusError(grpc.RpcError):  # type: ignore[misc]  # grpcio has no types
    """gRPC ended a call with another status than OK.

    Args:
        code: the status.
        details: what the server, or gRPC itself, said.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return what was said."""
        return self._details


class Outgoing(Protocol):
    """What a transport sends."""

    method: str
    message: bytes
    timeout_s: float | None
    metadata: tuple[tuple[str, str], ...]

    def arrived(self, message: bytes | None, error: BaseException | None) -> None:
        """Take the reply or the error; called once, must neither wait nor raise."""


class Transport(Protocol):
    """Sends messages over one connection."""

    def send(self, call: Outgoing) -> Callable[[], object]:
        """Send a message. Returns what gives it up; from any thread, and harmless afterwards."""

    def close(self) -> None:
        """End the connection once nothing is on its way any more."""


def in_callback() -> bool:
    """Return whether this is a thread that takes replies, which must not wait for any."""
    return getattr(_here, "takes_replies", False)


class QueueTransport:
    """Calls on the completion queue of a channel.

    Args:
        channel: that nobody else uses.

    Raises:
        AttributeError, ImportError, TypeError: this version of grpcio is made otherwise.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        from grpc._cython import cygrpc

        self._public = channel
        self._channel = channel._channel
        self._cygrpc = cygrpc
        self._cancelled = cygrpc.StatusCode.cancelled
        # These say nothing of a particular call, so all share them.
        self._close = cygrpc.SendCloseFromClientOperation(_NO_FLAGS)
        self._calls: dict[Outgoing, None] = {}
        self._is_closing = False
        self._start = self._channel.integrated_call
        self._next = self._channel.next_call_event
        self._thread = threading.Thread(target=self._serve, name="evtfw-grpc", daemon=True)
        self._thread.start()

    def send(self, call: Outgoing) -> Callable[[], object]:
        """See `Transport.send`."""
        cygrpc = self._cygrpc
        operations = (
            cygrpc.SendInitialMetadataOperation(call.metadata or None, _NO_FLAGS),
            cygrpc.SendMessageOperation(call.message, _NO_FLAGS),
            self._close,
            cygrpc.ReceiveInitialMetadataOperation(_NO_FLAGS),
            cygrpc.ReceiveMessageOperation(_NO_FLAGS),
            cygrpc.ReceiveStatusOnClientOperation(_NO_FLAGS),
        )
        deadline_s = None if call.timeout_s is None else time.time() + call.timeout_s
        method = call.method.encode()
        self._calls[call] = None
        try:
            rpc = self._start(_NO_FLAGS, method, None, deadline_s, None, None, ((operations, call),))
        except BaseException:
            del self._calls[call]
            raise
        return lambda: rpc.cancel(self._cancelled, "given up")

    def _serve(self) -> None:
        """Take the replies, until there are no more to come."""
        _here.takes_replies = True
        calls = self._calls
        while calls or not self._is_closing:
            event = self._next()
            call = event.tag
            if call is None:  # gRPC looks around from time to time if it is ready for forks
                continue
            *_, reply, end = event.batch_operations
            del calls[call]
            code = end.code()
            if code == _OK:
                call.arrived(reply.message(), None)
            else:
                call.arrived(None, StatusError(_CODES.get(code, grpc.StatusCode.UNKNOWN), end.details()))
            del event, call, reply, end, _  # a thread that waits must not keep a reply alive
        self._public.close()

    def close(self) -> None:
        """See `Transport.close`."""
        self._is_closing = True
        with contextlib.suppress(ValueError):  # its channel is closed: nothing is left to be woken
            self.send(_Nothing())
        if threading.current_thread() is not self._thread:
            self._thread.join()


class _Nothing:
    """A call that ends before it is sent, for its deadline has passed. Whoever waits for replies wakes up."""

    method = "/evtfw/Nothing"
    message = b""
    timeout_s: float | None = -1.0
    metadata: tuple[tuple[str, str], ...] = ()

    def __init__(self) -> None:
        self.ended = threading.Event()

    def arrived(self, message: bytes | None, error: BaseException | None) -> None:
        """See `Outgoing.arrived`."""
        self.ended.set()


class FutureTransport:
    """Calls by gRPC's public stubs.

    Args:
        channel: that nobody else uses.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def send(self, call: Outgoing) -> Callable[[], object]:
        """See `Transport.send`."""
        method = self._channel.unary_unary(call.method)
        rpc = method.future(call.message, timeout=call.timeout_s, metadata=call.metadata or None)
        rpc.add_done_callback(lambda rpc: self._ended(call, rpc))
        give_up: Callable[[], object] = rpc.cancel
        return give_up

    def _ended(self, call: Outgoing, rpc: Any) -> None:
        before, _here.takes_replies = in_callback(), True
        try:
            if rpc.code() is grpc.StatusCode.OK:
                call.arrived(rpc.result(), None)
            else:
                call.arrived(None, StatusError(rpc.code(), rpc.details()))
        finally:
            _here.takes_replies = before

    def close(self) -> None:
        """See `Transport.close`."""
        self._channel.close()


def best_transport(connect: Callable[[], grpc.Channel]) -> Transport:
    """Return the better way that this version of grpcio has.

    Args:
        connect: makes a channel. Nothing is sent to the server.
    """
    with contextlib.suppress(AttributeError, ImportError, TypeError):
        transport = QueueTransport(connect())
        trial = _Nothing()
        transport.send(trial)
        if trial.ended.wait(_TRIAL_S):
            return transport
    return FutureTransport(connect())
