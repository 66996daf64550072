"""ModelInfer: from the message's bytes to a hosted model and back, without a thread that waits."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from evtfw.core.errors import BadRequest, nearest
from evtfw.external.contract import Reply, Tensors
from evtfw.external.service.endpoint.calls import Context, Gate
from evtfw.external.service.endpoint.completions import Handover, Waiter
from evtfw.external.service.endpoint.errors import CallFailed, status_of
from evtfw.external.service.endpoint.regions import Region, Regions
from evtfw.external.service.wire.head import SharedRange
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import shown
from evtfw.external.service.wire.reply import Output, ReplyWriter, content_of
from evtfw.external.service.wire.request import InferRequest, RequestReader

if TYPE_CHECKING:
    from evtfw.external.service.model import HostedModel
    from evtfw.external.service.service import Service


Write: TypeAlias = Callable[[str, str, Tensors], bytes]


class Pending(NamedTuple):
    """A request that a model works on. The completion is only the model's: if it lets go of it, that is noticed."""

    request: InferRequest
    model: HostedModel
    regions: dict[str, Region]
    future: asyncio.Future[Reply]
    waiter: weakref.ref[Waiter]

    def cancel(self) -> None:
        """Give up: its place is free again."""
        waiter = self.waiter()
        if waiter is not None:
            waiter.cancel()
        self.future.cancel()


class Inference:
    """Answers inference requests. Only used in the loop's thread.

    Args:
        service: has the models.
        handover: brings outcomes into the loop.
        limits: of requests, and of all that are in flight.
        regions: of shared memory; None: there is none.
    """

    def __init__(self, service: Service, handover: Handover, limits: Limits, regions: Regions | None) -> None:
        self._service = service
        self._clock = service.clock
        self._handover = handover
        self._regions = regions
        self._reader = RequestReader(limits, regions.read) if regions is not None else RequestReader(limits)
        self._writers: weakref.WeakKeyDictionary[HostedModel, ReplyWriter] = weakref.WeakKeyDictionary()
        self._bytes = Gate(limits.in_flight_bytes, "bytes of requests in flight")

    async def answer(self, message: bytes, context: Context) -> bytes:
        """Return the reply to a ModelInferRequest.

        Raises:
            EvtfwError: it cannot be answered.
        """
        return await self.finish(self.begin(message, context.time_remaining()))

    def begin(self, message: bytes, remaining_s: float | None) -> Pending:
        """Give a request to its model. What is returned must be finished.

        Args:
            message: a ModelInferRequest.
            remaining_s: until the caller gives up; None or infinite for never.

        Raises:
            BadRequest, ModelNotFound, Overloaded: it cannot be taken.
        """
        return self.submit(self._reader.read(message), remaining_s)

    def submit(self, request: InferRequest, remaining_s: float | None) -> Pending:
        """Give a request that was read to its model; as `begin`."""
        head = request.head
        model = self._service.find(head.model, head.version)
        self._check_outputs(request, model)
        regions = self._regions_of_outputs(request)
        self._bytes.take(request.size_bytes)
        deadline_ns = None
        if remaining_s is not None and math.isfinite(remaining_s):
            deadline_ns = self._clock.now_ns() + int(remaining_s * 1e9)
        waiter = self._handover.waiter(f"a request to model '{head.model}'", deadline_ns)
        pending = Pending(request, model, regions, waiter.future, weakref.ref(waiter))
        model.submit(request.inputs, waiter, priority=head.priority, timeout_s=head.timeout_s)
        return pending

    async def finish(self, pending: Pending, *, is_stream: bool = False, write: Write | None = None) -> bytes:
        """Wait for the model and return the reply's message; giving up waiting gives up the request.

        Args:
            pending: from `begin` or `submit`.
            is_stream: the last reply to a request is marked if its client wants that.
            write: makes the message from the model's name and version and the outputs; None: a ModelInferResponse.

        Raises:
            CallFailed: the model could not answer.
        """
        request, model = pending.request, pending.model
        try:
            reply = await pending.future
            outputs = self._outputs(reply, pending)
            if write is not None:
                return write(model.name, model.version, {name: array for name, array, _ in outputs})
            is_final = is_stream and request.head.wants_final
            return self._writer(model).write(request.id, outputs, reply.times, is_final=is_final)
        except Exception as error:
            raise CallFailed(*status_of(error, model)) from error
        finally:
            pending.cancel()
            self._bytes.give(request.size_bytes)

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

    def _outputs(self, reply: Reply, pending: Pending) -> list[Output]:
        wanted = pending.request.head.outputs
        if not wanted:
            return [(name, array, None) for name, array in reply.outputs.items()]
        outputs: list[Output] = []
        for name, shared in wanted:
            array = reply.outputs.get(name)
            if array is None:
                raise BadRequest(f"model '{pending.model.name}' has no output {shown(name)}")
            if shared is not None:
                content = content_of(array)
                if len(content) > shared.size_bytes:
                    raise BadRequest(
                        f"output {shown(name)} has {len(content)} bytes; its shared memory has {shared.size_bytes}"
                    )
                pending.regions[name].write(shared.offset, content)
                shared = SharedRange(shared.region, shared.offset, len(content))
            outputs.append((name, array, shared))
        return outputs

    def _writer(self, model: HostedModel) -> ReplyWriter:
        writer = self._writers.get(model)
        if writer is None:
            writer = self._writers[model] = ReplyWriter(model.name, model.version)
        return writer
