"""ModelInfer: from the message's bytes to a hosted model and back, without a thread that waits."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from evtfw.core.completion import CallbackCompletion
from evtfw.core.errors import BadRequest, nearest
from evtfw.external.contract import Reply, Times
from evtfw.external.service.endpoint.calls import Gate, end_with
from evtfw.external.service.endpoint.errors import CallFailed, status_of
from evtfw.external.service.endpoint.regions import Region, Regions
from evtfw.external.service.endpoint.rpc import Call
from evtfw.external.service.wire.head import SharedRange
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import shown
from evtfw.external.service.wire.reply import Output, ReplyWriter, content_of
from evtfw.external.service.wire.request import InferRequest, RequestReader

if TYPE_CHECKING:
    from evtfw.external.service.model import HostedModel
    from evtfw.external.service.service import Service


Write: TypeAlias = Callable[["HostedModel", InferRequest, list[Output], Times], bytes]
Ended: TypeAlias = Callable[[bytes | None, CallFailed | None], object]
"""Takes the reply's message, or why there is none; in the thread in which the model ends the request."""


class Work:
    """A request that a model works on. Only used in the server's thread.

    The completion is only the model's: if it lets go of it, that is noticed.
    """

    __slots__ = ("_gate", "_size_bytes", "_waiter")

    def __init__(self, waiter: CallbackCompletion, gate: Gate, size_bytes: int) -> None:
        self._waiter = weakref.ref(waiter)
        self._gate = gate
        self._size_bytes = size_bytes

    def release(self) -> None:
        """The caller has the reply, or wants none: give the request up if it is not answered, and free its bytes."""
        waiter = self._waiter()
        if waiter is not None:
            waiter.cancel()
        self._gate.give(self._size_bytes)


class Inference:
    """Answers inference requests. Only used in the server's thread, but for the ends of requests.

    Args:
        service: has the models.
        limits: of requests, and of all that are in flight.
        regions: of shared memory; None: there is none.
    """

    def __init__(self, service: Service, limits: Limits, regions: Regions | None) -> None:
        self._service = service
        self._clock = service.clock
        self._regions = regions
        self._reader = RequestReader(limits, regions.read) if regions is not None else RequestReader(limits)
        self._writers: weakref.WeakKeyDictionary[HostedModel, ReplyWriter] = weakref.WeakKeyDictionary()
        self._bytes = Gate(limits.in_flight_bytes, "bytes of requests in flight")

    def answer(self, message: bytes, call: Call) -> None:
        """Give a ModelInferRequest to its model, whose reply ends the call.

        Raises:
            BadRequest, ModelNotFound, Overloaded: it cannot be taken.
        """
        self.answer_read(self.read(message), call)

    def answer_read(self, request: InferRequest, call: Call, write: Write | None = None) -> None:
        """As `answer`, with a request that was read already; ``write`` as in `submit`."""
        work = self.submit(request, call.remaining_s(), functools.partial(_end, call), write)
        call.at_end(work.release)

    def read(self, message: bytes) -> InferRequest:
        """Read a ModelInferRequest. Raises BadRequest."""
        return self._reader.read(message)

    def submit(self, request: InferRequest, remaining_s: float, ended: Ended, write: Write | None = None) -> Work:
        """Give a request to its model. What is returned must be released.

        Args:
            request: from `read`, or of another protocol.
            remaining_s: until the caller gives up; infinite for never.
            ended: called once, unless the work is released before.
            write: makes the message of the reply; None: a ModelInferResponse.

        Raises:
            BadRequest, ModelNotFound, Overloaded: it cannot be taken.
        """
        head = request.head
        model = self._service.find(head.model, head.version)
        self._check_outputs(request, model)
        regions = self._regions_of_outputs(request)
        self._bytes.take(request.size_bytes)
        deadline_ns = None
        if math.isfinite(remaining_s):
            deadline_ns = self._clock.now_ns() + int(remaining_s * 1e9)
        waiter = CallbackCompletion(
            functools.partial(_ended, request, model, regions, write or self._write, ended),
            name=f"a request to model '{head.model}'",
            deadline_ns=deadline_ns,
        )
        work = Work(waiter, self._bytes, request.size_bytes)
        model.submit(request.inputs, waiter, priority=head.priority, timeout_s=head.timeout_s)
        return work

    def write_final(self, model: HostedModel, request: InferRequest, outputs: list[Output], times: Times) -> bytes:
        """Make a ModelInferResponse that is marked as the last one to its request."""
        return self._writer(model).write(request.id, outputs, times, is_final=True)

    def _write(self, model: HostedModel, request: InferRequest, outputs: list[Output], times: Times) -> bytes:
        return self._writer(model).write(request.id, outputs, times)

    @staticmethod
    def _check_outputs(request: InferRequest, model: HostedModel) -> None:
        if not request.head.outputs:
            return
        known = {spec.name for spec in model.description.outputs}
        for output in request.head.outputs:
            if known and output.name not in known:
                raise BadRequest(
                    f"model '{model.name}' has no output {shown(output.name)}{nearest(output.name[:64], known)}"
                )

    def _regions_of_outputs(self, request: InferRequest) -> dict[str, Region]:
        regions = {}
        for name, shared in request.head.outputs:
            if shared is not None:
                if self._regions is None:
                    raise BadRequest("shared memory is switched off in this service")
                regions[name] = self._regions.find(shared.region)
        return regions

    def _writer(self, model: HostedModel) -> ReplyWriter:
        writer = self._writers.get(model)
        if writer is None:
            writer = self._writers[model] = ReplyWriter(model.name, model.version)
        return writer


def _end(call: Call, message: bytes | None, error: CallFailed | None) -> None:
    if error is None:
        call.finish(message)
    else:
        end_with(call, error)


def _ended(
    request: InferRequest,
    model: HostedModel,
    regions: dict[str, Region],
    write: Write,
    ended: Ended,
    reply: Reply,
    error: BaseException | None,
) -> None:
    """Make the message of a reply, and hand it on."""
    message = None
    if error is None:
        try:
            message = write(model, request, _outputs(request, model, regions, reply), reply.times)
        except Exception as problem:
            error = problem
    ended(message, None if error is None else CallFailed(*status_of(error, model)))


def _outputs(request: InferRequest, model: HostedModel, regions: dict[str, Region], reply: Reply) -> list[Output]:
    """Return what the caller asked for; what belongs into shared memory is written there."""
    wanted = request.head.outputs
    if not wanted:
        return [(name, array, None) for name, array in reply.outputs.items()]
    outputs: list[Output] = []
    for name, shared in wanted:
        array = reply.outputs.get(name)
        if array is None:
            raise BadRequest(f"model '{model.name}' has no output {shown(name)}")
        if shared is not None:
            content = content_of(array)
            if len(content) > shared.size_bytes:
                raise BadRequest(
                    f"output {shown(name)} has {len(content)} bytes; its shared memory has {shared.size_bytes}"
                )
            regions[name].write(shared.offset, content)
            shared = SharedRange(shared.region, shared.offset, len(content))
        outputs.append((name, array, shared))
    return outputs
