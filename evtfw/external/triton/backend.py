"""``triton+grpc://HOST:PORT/MODEL[/VERSION]``: a model behind Triton, ``evtfw serve`` or another server like them.

Several servers stand in the URL with commas between them; ``triton+grpcs://`` is encrypted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import ClassVar

from evtfw.core.completion import Completion
from evtfw.core.errors import BadReply, ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, ModelDescription, Request, Tensors
from evtfw.external.errors import Overloaded
from evtfw.external.grpc.backend import Decoded, GrpcBackend, _Exchange
from evtfw.external.grpc.options import GrpcOptions
from evtfw.external.triton.decoding import InferReply, ReplyDecoder
from evtfw.external.triton.description import ServedModel
from evtfw.external.triton.encoding import RequestEncoder, id_field, parameter, unsigned_parameter
from evtfw.external.triton.options import TritonOptions, is_loopback, model_of
from evtfw.external.triton.regions import Regions
from evtfw.external.triton.start import SERVICE, ask_server, registered, unregister
from evtfw.external.urls import BackendUrl, OptionReader

SLOTS = 16
"""Requests at the same time that a server gets without being asked for more: enough for its batches to fill."""


class TritonClient(GrpcBackend):
    """A model of one server.

    Args:
        authority: host and port of the server.
        model: its name there.
        version: which one; empty for the server's choice.
        url: for messages and provenance.
        options: security, limits and waiting.
        triton: how to use the model.
    """

    method: ClassVar[str] = f"{SERVICE}ModelInfer"

    def __init__(
        self,
        authority: str,
        model_name: str,
        version: str = "",
        *,
        url: str = "",
        options: GrpcOptions = GrpcOptions(),  # noqa: B008 (frozen)
        triton: TritonOptions = TritonOptions(),  # noqa: B008 (frozen)
    ) -> None:
        url = url or f"triton+grpc{'s' if options.tls else ''}://{authority}/{model_name}"
        super().__init__(authority, url=url, options=options)
        self._name = model_name
        self._version = version
        self._triton = triton
        self._served: ServedModel | None = None
        self._said_so = False
        self._say: Callable[[str], object] = str
        self._wait = threading.local()
        self._sends_timeout = False
        self._regions: Regions | None = None
        self._is_sharing = False

    @classmethod
    def client(cls, authority: str, url: BackendUrl, reader: OptionReader) -> GrpcBackend:
        """See `GrpcBackend.client`."""
        model, version = model_of(url)
        options = GrpcOptions.read(reader, is_tls=url.scheme.endswith("s"))
        return cls(authority, model, version, url=str(url), options=options, triton=TritonOptions.read(reader))

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return SLOTS

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return f"model '{self._name}' of the server {self.authority} ({self.url})"

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._say = context.say
        super().open(context)

    def connect(self) -> ModelDescription:
        """See `GrpcBackend.connect`."""
        served = ask_server(self.call_now, self._name, self._version, self.url)
        self._check_sha256(served.description)
        self._served = served
        self._encoder = RequestEncoder(self._name, self._version, served.inputs)
        self._decoder = ReplyDecoder(self._name)
        switch = self._triton.server_timeout
        self._sends_timeout = switch == "on" or (switch == "auto" and served.heeds_timeout)
        self._share(served)
        return served.description

    def _check_sha256(self, description: ModelDescription) -> None:
        wanted = self._triton.sha256
        if wanted and description.sha256 and description.sha256 != wanted:
            raise ExternalError(
                f"{self.url}: the server's model '{self._name}' has sha256 {description.sha256}, not {wanted} as wanted"
            )

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        if self._sends_timeout and self._validator is not None:
            self._wait.remaining_s = done.remaining_s(self._clock)
        super().submit(request, done)

    def encode(self, request: Request) -> bytes:
        """See `GrpcBackend.encode`."""
        regions = self._regions
        if regions is not None and self._is_sharing:
            head = regions.encode(self._encoder.start, request.inputs, request.id)
            if head is not None:
                return b"".join((head, id_field(request.id), self._parameters(request)))
        return self._encoder.encode(request.inputs, request.id, self._parameters(request))

    def _parameters(self, request: Request) -> bytes:
        """Write what the server is to know of this request."""
        parameters = b""
        wanted = request.priority or self._triton.priority
        if wanted and self._served is not None:
            level = self._served.priority(wanted)
            parameters = unsigned_parameter("priority", level) if level else b""
        if self._sends_timeout:
            remaining_s = self._wait.remaining_s
            if remaining_s is None:
                remaining_s = self.options.default_timeout_s
            parameters += parameter("timeout", max(1, round(remaining_s * 1e6)))
        return parameters

    def decode(self, message: bytes, request: Request) -> Decoded:
        """See `GrpcBackend.decode`."""
        try:
            regions = self._regions
            if regions is None:
                return _decoded(self._decoder.decode(message, request.id))
            reply = self._decoder.decode(message, request.id, regions.shared_output(request.id))
            if reply.shared is not None:
                reply.outputs[reply.shared.name] = regions.take(request.id, reply.shared)
            regions.free(request.id)
            return _decoded(reply)
        except BadReply as error:
            raise BadReply(f"{self.url}: {error}") from None

    def _share(self, served: ServedModel) -> None:
        """Register shared memory if that is wanted; without it, everything goes by messages."""
        switch = self._triton.shm
        if switch == "off" or (switch == "auto" and not is_loopback(self.authority)):
            return
        try:
            self._is_sharing = True
            self._regions = registered(
                self.call_now,
                Regions(
                    served.description,
                    served.inputs,
                    served.outputs,
                    slots=self._triton.shm_slots,
                    slot_bytes=self._triton.shm_bytes,
                ),
            )
        except ExternalError as error:
            self._stop_sharing(error)

    def _stop_sharing(self, reason: BaseException) -> None:
        self._is_sharing = False  # what is on its way may still be answered in the regions
        if not self._said_so:
            self._said_so = True
            self._say(f"{self.url}: no shared memory with the server, tensors go by messages: {reason}")

    def _meaning(self, error: BaseException | None) -> ExternalError:
        """See `GrpcBackend`; a server that was started anew does not know the region any more."""
        meaning = super()._meaning(error)
        if self._regions is not None and "shared memory" in str(meaning):
            self._stop_sharing(meaning)
            return Overloaded(f"{meaning}; sent without shared memory it will be taken")
        return meaning

    def _ended(self, exchange: _Exchange) -> None:
        regions = self._regions
        if regions is not None:
            regions.give_up(exchange.request.id)
        super()._ended(exchange)

    def close(self) -> None:
        """See `Backend.close`."""
        regions, self._regions = self._regions, None
        if regions is not None:
            with contextlib.suppress(ExternalError):
                unregister(self.call_now, regions.name)
            regions.close()
        super().close()


def _decoded(reply: InferReply) -> Decoded:
    parameters = reply.parameters
    if not parameters:
        return Decoded(reply.outputs, reply.version)
    return Decoded(
        reply.outputs,
        reply.version,
        queue_ns=int(parameters.get("queue_us", 0) * 1e3),
        compute_ns=int(parameters.get("compute_us", 0) * 1e3),
        batch_rows=int(parameters.get("batch_rows", 0)),
        held_ns=int(parameters.get("held_us", 0) * 1e3),
        late_ns=int(parameters.get("late_us", 0) * 1e3),
        device_ns=int(parameters.get("device_ns", 0)),
        device_queue_ns=int(parameters.get("device_queue_ns", 0)),
    )


class TritonBackend(TritonClient):
    """Registered for the schemes ``triton+grpc`` and ``triton+grpcs``; an URL gives a router over its servers."""

    @classmethod
    def from_url(cls, url: str) -> Backend:
        """See `Backend.from_url`."""
        from evtfw.external.routing.remote import remote_backend

        return remote_backend(url, TritonClient.client)
