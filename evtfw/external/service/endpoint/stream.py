"""ModelStreamInfer: requests of one stream are worked on at the same time and answered in their order."""

from __future__ import annotations

import functools
import threading
from collections import deque

from evtfw.core.errors import EvtfwError
from evtfw.external.protobuf_wire import text
from evtfw.external.service.endpoint.calls import Gate, end_with, is_admitted
from evtfw.external.service.endpoint.errors import Refused, status_of
from evtfw.external.service.endpoint.infer import Inference, Work
from evtfw.external.service.endpoint.rpc import Call, Handler
from evtfw.external.service.wire.limits import Limits

_ERROR, _RESPONSE = 1, 2
_ID = 3


def stream_handler(inference: Inference, limits: Limits) -> Handler:
    """Return the handler of ModelStreamInfer."""
    gate = Gate(limits.streams, "streams")

    def handle(call: Call) -> None:
        if is_admitted(call, gate):
            _Stream(inference, limits, call).start()

    return handle


class _Item:
    """A request of a stream, and its answer once there is one."""

    __slots__ = ("answer", "id", "work")

    def __init__(self) -> None:
        self.id = b""
        self.work: Work | None = None
        self.answer: bytes | None = None


class _Stream:
    """One stream: requests are read and submitted, while the oldest that is answered is written.

    How many it has is bounded: a client that does not read its answers, or sends more than is computed, is not read
    from, and HTTP/2's flow control makes it wait. All but `_answered` and `_write` is done in the server's thread.
    """

    def __init__(self, inference: Inference, limits: Limits, call: Call) -> None:
        self._inference = inference
        self._idle_s = limits.idle_s
        self._depth = limits.stream_depth
        self._call = call
        self._items: deque[_Item] = deque()
        self._writing = threading.Lock()
        self._is_writing = self._is_reading = self._has_all = False

    def start(self) -> None:
        """Serve until the client ends the stream or the connection is lost."""
        self._call.at_end(self._give_up)
        self._go_on()

    def _go_on(self) -> None:
        """Read the next request if there is room, or end if there are no more."""
        if self._has_all:
            if not self._items:
                self._call.finish()
        elif not self._is_reading and len(self._items) < self._depth:
            self._is_reading = True
            self._call.read(self._received, self._idle_s, self._is_idle)

    def _received(self, message: bytes | None) -> None:
        self._is_reading = False
        if message is None:
            self._has_all = True
        else:
            self._begin(message)
        self._go_on()

    def _begin(self, message: bytes) -> None:
        item = _Item()
        self._items.append(item)
        try:
            request = self._inference.read(message)
            item.id = request.id
            write = self._inference.write_final if request.head.wants_final else None
            ended = functools.partial(self._answered, item)
            item.work = self._inference.submit(request, self._call.remaining_s(), ended, write)
        except EvtfwError as error:
            self._answered(item, None, error)
        except Exception as error:
            end_with(self._call, error)

    def _is_idle(self) -> None:
        end_with(self._call, Refused(f"the stream had no request for {self._idle_s:g} s"))

    def _answered(self, item: _Item, message: bytes | None, error: EvtfwError | None) -> None:
        item.answer = text(_RESPONSE, message or b"") if error is None else _failure(error, item.id)
        self._write()

    def _write(self) -> None:
        """Send the oldest answer, if it is there and the one before has been sent."""
        with self._writing:
            answer = self._items[0].answer if self._items else None
            if self._is_writing or answer is None:
                return
            self._is_writing = True
        self._call.write(answer, self._written)

    def _written(self) -> None:
        with self._writing:
            self._is_writing = False
            item = self._items.popleft() if self._items else None
        if item is not None:
            _release(item)
            self._write()
        self._go_on()

    def _give_up(self) -> None:
        with self._writing:
            items, self._items = self._items, deque()
        for item in items:
            _release(item)


def _release(item: _Item) -> None:
    if item.work is not None:
        item.work.release()


def _failure(error: BaseException, request_id: bytes) -> bytes:
    """Return a ModelStreamInferResponse with an error; the id says whose it is."""
    return text(_ERROR, status_of(error)[1].encode()) + text(_RESPONSE, text(_ID, request_id))
