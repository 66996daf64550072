"""The connections of a process, shared by all backends that mean the same server the same way.

Nobody waits for a reply: a request is written by the thread that sends it, and the connection's own thread (see
`evtfw.external.grpc.transport`) tells whoever it is for that it has ended.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import Final

import grpc

from evtfw.external.grpc.options import GrpcOptions
from evtfw.external.grpc.transport import StatusError, Transport, best_transport

_GIVEN_UP: Final = grpc.StatusCode.CANCELLED


class GivenUp(Exception):
    """`Call.cancel` ended a call."""


class Call:
    """A request on its way; a `Cancellable`. Subclasses say who is told how it `ended`.

    Args:
        channel: where to.
        method: ``/package.Service/Method``.
        message: as it goes over the wire.
        timeout_s: how long until gRPC gives up; None for never.
        metadata: headers.
    """

    __slots__ = ("__weakref__", "_give_up", "_was_cancelled", "channel", "message", "metadata", "method", "timeout_s")

    def __init__(
        self,
        channel: SharedChannel,
        method: str,
        message: bytes,
        *,
        timeout_s: float | None,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        self.channel = channel
        self.method = method
        self.message = message
        self.timeout_s = timeout_s
        self.metadata = metadata
        self._was_cancelled = False
        self._give_up: Callable[[], object] | None = None

    def start(self) -> None:
        """Send it. Never blocks and never raises."""
        if self._is_unwanted():
            self.ended(None, GivenUp())
            return
        try:
            give_up = self._give_up = self.channel.transport.send(self)
        except Exception as error:
            self.ended(None, error)
            return
        self.message = b""
        if self._is_unwanted():  # since it was being sent
            give_up()

    def _is_unwanted(self) -> bool:
        return self._was_cancelled

    def cancel(self) -> None:
        """Give up, from any thread; the server is told."""
        self._was_cancelled = True
        give_up = self._give_up
        if give_up is not None:
            give_up()

    def arrived(self, message: bytes | None, error: BaseException | None) -> None:
        """See `Outgoing.arrived`."""
        self._give_up = None
        if self._was_cancelled and isinstance(error, StatusError) and error.code() is _GIVEN_UP:
            error = GivenUp()
        self.ended(message, error)

    def ended(self, message: bytes | None, error: BaseException | None) -> None:
        """Take the reply, or what went wrong: a `StatusError`, or `GivenUp` after `cancel`.

        Called once: in the thread that takes the connection's replies, or in that of `start` if it cannot be sent. Must
        neither wait nor raise.
        """
        raise NotImplementedError


class SharedChannel:
    """A connection to a server; all backends of the process that mean the same server the same way share it.

    Attributes:
        transport: sends over it.
        users: how many backends hold it.
    """

    def __init__(self, bridge: Bridge, key: object, transport: Transport) -> None:
        self.transport = transport
        self.users = 1
        self._bridge = bridge
        self._key = key

    def release(self) -> None:
        """Let go; with the last user the connection is closed."""
        self._bridge.release(self._key, self)


class Bridge:
    """The connections. Use the one of the process: `bridge`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[object, SharedChannel] = {}

    def connect(self, authority: str, options: GrpcOptions) -> SharedChannel:
        """Return the channel to a server; nothing is sent yet.

        Raises:
            ConfigurationError: files for TLS cannot be read.
        """
        arguments = options.channel_arguments()
        secrets = options.read_pems()
        compression = options.compression_algorithm()

        def channel() -> grpc.Channel:
            if not options.tls:
                return grpc.insecure_channel(authority, arguments, compression)
            return grpc.secure_channel(authority, grpc.ssl_channel_credentials(*secrets), arguments, compression)

        key = (authority, options.tls, options.compression, secrets, tuple(arguments))
        with self._lock:
            shared = self._channels.get(key)
            if shared is not None:
                shared.users += 1
                return shared
            shared = self._channels[key] = SharedChannel(self, key, best_transport(channel))
            return shared

    def release(self, key: object, channel: SharedChannel) -> None:
        """Take one user from a channel and close it after the last."""
        with self._lock:
            channel.users -= 1
            is_last = channel.users == 0 and self._channels.pop(key, None) is not None
        if is_last:
            channel.transport.close()

    def close(self) -> None:
        """Let nothing run into the end of the interpreter."""
        with self._lock:
            channels = list(self._channels.values())
            self._channels.clear()
        for channel in channels:
            channel.transport.close()


bridge = Bridge()
"""The one of this process."""

atexit.register(bridge.close)
