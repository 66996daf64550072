"""One thread per process that speaks gRPC for all backends, so that the threads of the job never wait for it.

A request costs its sender an append to a deque; the loop's thread is woken once for all that were appended since.
While the interpreter is idle, futures of gRPC's synchronous stub cost as little or less; while another thread computes
in Python, small requests (16 in flight) come back 1.6 to 2.8 times sooner this way.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
from grpc import aio

from evtfw.external.grpc.options import GrpcOptions
from evtfw.external.loops import new_event_loop

T = TypeVar("T")
_STOP_S = 5.0


class Call:
    """A request on its way; a `Cancellable`. Subclasses say who is told how it `ended`.

    Args:
        channel: where to.
        method: ``/package.Service/Method``.
        message: as it goes over the wire.
        timeout_s: how long until gRPC gives up; None for never.
        metadata: headers.
    """

    __slots__ = (
        "__weakref__",
        "_is_looked_at",
        "_rpc",
        "channel",
        "message",
        "metadata",
        "method",
        "timeout_s",
        "was_cancelled",
    )

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
        self.was_cancelled = False
        self._is_looked_at = False
        self._rpc: Any = None

    def start(self) -> None:
        """Send it."""
        self.channel.bridge.soon(self)

    def cancel(self) -> None:
        """Give up, from any thread; the server is told."""
        self.was_cancelled = True
        self.channel.bridge.soon(self)

    def ended(self, message: bytes | None, error: BaseException | None) -> None:
        """Take the reply, or what was raised: `aio.AioRpcError` for a status, `asyncio.CancelledError` after `cancel`.

        Called once, in the loop's thread. Must neither wait nor raise.
        """
        raise NotImplementedError

    def look(self) -> None:
        """Send it the first time, give it up the second time; in the loop's thread."""
        if self._is_looked_at:
            if self._rpc is not None:
                self._rpc.cancel()
            return
        self._is_looked_at = True
        try:
            if self.was_cancelled:
                raise asyncio.CancelledError
            method = self.channel.method(self.method)
            self._rpc = method(self.message, timeout=self.timeout_s, metadata=self.metadata or None)
        except BaseException as raised:
            self.ended(None, raised)
        else:
            self.message = b""
            self._rpc.add_done_callback(self._has_status)

    def _has_status(self, rpc: Any) -> None:
        """The reply is there one step of the loop after its status. Taking it then saves a task for each request."""
        asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        message, error = None, None
        try:
            self._rpc.__await__().send(None)
        except StopIteration as end:
            message = end.value
        except BaseException as raised:
            error = raised
        else:  # cancelled, and gRPC's own task has not noticed yet
            asyncio.get_running_loop().call_soon(self._take)
            return
        self._rpc = None
        self.ended(message, error)


class SharedChannel:
    """A connection to a server; all backends of the process that mean the same server the same way share it.

    Attributes:
        bridge: that it belongs to.
        users: how many backends hold it.
    """

    def __init__(self, bridge: Bridge, key: object, channel: Any) -> None:
        self.bridge = bridge
        self.users = 1
        self._key = key
        self._channel = channel
        self._methods: dict[str, Any] = {}

    def method(self, name: str) -> Any:
        """Return gRPC's callable for a method; in the loop's thread only."""
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self._channel.unary_unary(name)
        return found

    def release(self) -> None:
        """Let go; with the last user the connection is closed."""
        self.bridge.release(self._key, self)

    async def close(self) -> None:
        """End the connection and what is on its way."""
        await self._channel.close()


class Bridge:
    """The loop, its thread and the channels. Use the one of the process: `bridge`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[object, SharedChannel] = {}
        self._waiting: collections.deque[Call] = collections.deque()
        self._is_woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def connect(self, authority: str, options: GrpcOptions) -> SharedChannel:
        """Return the channel to a server; nothing is sent yet.

        Raises:
            ConfigurationError: files for TLS cannot be read.
        """
        arguments = options.channel_arguments()
        secrets = options.read_pems()
        key = (authority, options.tls, options.compression, secrets, tuple(arguments))
        with self._lock:
            self._start()
            shared = self._channels.get(key)
            if shared is not None:
                shared.users += 1
                return shared
            credentials = grpc.ssl_channel_credentials(*secrets) if options.tls else None
            channel = self.run(_open(authority, credentials, arguments, options.compression_algorithm()))
            shared = self._channels[key] = SharedChannel(self, key, channel)
            return shared

    def release(self, key: object, channel: SharedChannel) -> None:
        """Take one user from a channel and close it after the last."""
        with self._lock:
            channel.users -= 1
            if channel.users == 0 and self._channels.pop(key, None) is not None:
                self.run(channel.close())

    def soon(self, call: Call) -> None:
        """Let the loop look at a call: send it, or give it up."""
        self._waiting.append(call)
        if not self._is_woken and self._loop is not None:
            self._is_woken = True
            if self.is_loop_thread:
                self._loop.call_soon(self._look)
            else:
                self._loop.call_soon_threadsafe(self._look)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something short in the loop and wait for it; not from the loop's thread."""
        loop = self._loop
        if loop is None or self.is_loop_thread:
            coroutine.close()
            raise RuntimeError("connections cannot be opened, awaited or closed from a callback of gRPC")
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(coroutine, loop)
        return future.result()

    @property
    def is_loop_thread(self) -> bool:
        """Whether the caller is the loop's thread, which must not wait for anything."""
        return self._thread is not None and threading.get_ident() == self._thread.ident

    def _start(self) -> None:
        if self._thread is not None:
            return
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="evtfw-grpc", daemon=True)
        self._thread.start()
        started.wait()
        atexit.register(self._stop)

    def _serve(self, started: threading.Event) -> None:
        self._loop = loop = new_event_loop()
        asyncio.set_event_loop(loop)
        loop.call_soon(started.set)
        loop.run_forever()

    def _stop(self) -> None:
        """Let nothing run into the end of the interpreter."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_S)

    def _look(self) -> None:
        """Start the calls that wait, and give up those that were cancelled."""
        self._is_woken = False  # first: who appends from here on wakes again
        waiting = self._waiting
        while waiting:
            waiting.popleft().look()


async def _open(authority: str, credentials: Any, arguments: list[tuple[str, int]], compression: Any) -> Any:
    if credentials is None:
        return aio.insecure_channel(authority, options=arguments, compression=compression)
    return aio.secure_channel(authority, credentials, options=arguments, compression=compression)


bridge = Bridge()
"""The one of this process."""
