"""ModelStreamInfer: requests of one stream are worked on at the same time and answered in their order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from evtfw.core.errors import EvtfwError
from evtfw.external.protobuf_wire import text
from evtfw.external.service.endpoint.calls import Context, Gate, end_with
from evtfw.external.service.endpoint.errors import Refused, status_of
from evtfw.external.service.endpoint.infer import Inference, Pending
from evtfw.external.service.wire.limits import Limits

_ERROR, _RESPONSE = 1, 2
_ID: Final = 3
_Item: TypeAlias = Pending | bytes | None
"""What waits to be written: a request, a message that is ready, or the end."""


def stream_handler(inference: Inference, limits: Limits) -> Any:
    """Return gRPC's handler of ModelStreamInfer."""
    gate = Gate(limits.streams, "streams")

    async def handle(_: AsyncIterator[bytes], context: Context) -> None:
        try:
            with gate.enter():
                await _Stream(inference, limits, context).run()
        except Exception as error:
            await end_with(context, error)

    return grpc.stream_stream_rpc_method_handler(handle)


class _Stream:
    """One stream: reads and submits, while what was submitted is awaited and written in order.

    The queue between the two is bounded: a client that does not read its answers, or sends more than is computed, is
    not read from, and HTTP/2's flow control makes it wait.
    """

    def __init__(self, inference: Inference, limits: Limits, context: Context) -> None:
        self._inference = inference
        self._idle_s = limits.idle_s
        self._context = context
        self._items: asyncio.Queue[_Item] = asyncio.Queue(limits.stream_depth)

    async def run(self) -> None:
        """Serve until the client ends the stream or the connection is lost."""
        writing = asyncio.get_running_loop().create_task(self._write_all())
        reading = asyncio.get_running_loop().create_task(self._read_all())
        try:
            await asyncio.wait((writing, reading), return_when=asyncio.FIRST_EXCEPTION)
            for task in (writing, reading):
                if task.done():
                    task.result()
        finally:
            for task in (writing, reading):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(writing, reading, return_exceptions=True)
            await self._give_up()

    async def _read_all(self) -> None:
        while True:
            message = await self._read()
            if message is grpc.aio.EOF:
                await self._items.put(None)
                return
            item: _Item
            try:
                item = self._inference.begin(bytes(message), self._context.time_remaining())
            except EvtfwError as error:
                item = _failure(status_of(error)[1], b"")
            try:
                await self._items.put(item)
            except asyncio.CancelledError:
                await self._drop(item)
                raise

    async def _read(self) -> Any:
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._context.read()
        except TimeoutError:
            raise Refused(f"the stream had no request for {self._idle_s:g} s") from None

    async def _write_all(self) -> None:
        while (item := await self._items.get()) is not None:
            await self._context.write(item if isinstance(item, bytes) else await self._answer(item))

    async def _answer(self, pending: Pending) -> bytes:
        try:
            return text(_RESPONSE, await self._inference.finish(pending, is_stream=True))
        except EvtfwError as error:
            return _failure(status_of(error)[1], pending.request.id)

    async def _give_up(self) -> None:
        while not self._items.empty():
            await self._drop(self._items.get_nowait())

    async def _drop(self, item: _Item) -> None:
        if isinstance(item, Pending):
            item.cancel()
            with contextlib.suppress(EvtfwError, asyncio.CancelledError):
                await self._inference.finish(item)


def _failure(message: str, request_id: bytes) -> bytes:
    """Return a ModelStreamInferResponse with an error; the id says whose it is."""
    return text(_ERROR, message.encode()) + text(_RESPONSE, text(_ID, request_id))
