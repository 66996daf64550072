"""``tfserving+grpc://HOST:PORT/MODEL``: models behind TensorFlow Serving, or whatever speaks its PredictionService."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError

from evtfw.core.errors import BadReply, BadRequest, ConfigurationError, ExternalError, nearest
from evtfw.external.contract import ModelDescription, Request, TensorSpec
from evtfw.external.grpc.backend import Decoded, GrpcBackend, Payload
from evtfw.external.grpc.options import GrpcOptions
from evtfw.external.tensor_specs import parse_tensor_specs
from evtfw.external.tfserving.datatypes import dtype_of
from evtfw.external.tfserving.messages import (
    SERVICE,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from evtfw.external.tfserving.predict import model_spec, read_reply, request_head, write_request
from evtfw.external.urls import BackendUrl, OptionReader

DEFAULT_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """What an URL says about the model.

    Args:
        model: its name.
        version: number or label; empty for the newest.
        signature: of the model; empty for ``serving_default``.
        inputs, outputs: tensors, for servers that do not tell.
        batched: whether axis 0 is a batch of independent rows: ``yes``, ``no``, or ``auto`` if no tensor has a fixed
            length there.
    """

    model: str
    version: str = ""
    signature: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    batched: str = "auto"


class TfServingBackend(GrpcBackend):
    """A model of one TensorFlow Serving.

    The URL is ``tfserving+grpc://HOST:PORT/MODEL[/VERSION[/SIGNATURE]]``, with TLS ``tfserving+grpcs://``; several
    servers are separated by commas. Options after ``?`` are those of `GrpcOptions`, of
    `evtfw.external.routing.options.RoutingOptions`, and ``inputs``, ``outputs`` (``NAME:DTYPE[?,64];…``) and
    ``batched`` of `Served`. The protocol has no request ids, so mixed-up replies cannot be told.

    Args:
        authority: host and port.
        url: for messages and provenance.
        served: the model.
        options: security, limits and waiting.
    """

    method: ClassVar[str] = f"{SERVICE}/Predict"

    def __init__(
        self,
        authority: str,
        *,
        url: str,
        served: Served,
        options: GrpcOptions = GrpcOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(authority, url=url, options=options)
        self._served = served
        self._spec = model_spec(served.model, served.version, served.signature)
        self._head = request_head(self._spec)

    @classmethod
    def client(cls, authority: str, url: BackendUrl, reader: OptionReader) -> TfServingBackend:
        """See `GrpcBackend.client`."""
        parts = url.path.strip("/").split("/")
        if not parts[0] or len(parts) > 3:
            raise ValueError(f"'{url}' names no model; write {url.scheme}://HOST:PORT/MODEL[/VERSION[/SIGNATURE]]")
        inputs, outputs = (parse_tensor_specs(url, reader.text(side, "")) for side in ("inputs", "outputs"))
        batched = reader.choice("batched", "auto", ("auto", "yes", "no"))
        model, version, signature = (*parts, "", "")[:3]
        served = Served(model, version, signature, inputs, outputs, batched)
        options = GrpcOptions.read(reader, is_tls=url.scheme.endswith("s"))
        return cls(authority, url=str(url), served=served, options=options)

    def encode(self, request: Request) -> Payload:
        """See `GrpcBackend.encode`."""
        try:
            return write_request(self._head, request.inputs)
        except ValueError as error:
            raise BadRequest(f"request to {self.url}: {error}") from None

    def decode(self, message: bytes, request: Request) -> Decoded:
        """See `GrpcBackend.decode`."""
        try:
            outputs, version = read_reply(message, max_bytes=self.options.max_message_bytes)
        except ValueError as error:
            raise BadReply(f"reply of {self.url} (model '{self._served.model}'): {error}") from error
        return Decoded(outputs, version)

    def connect(self) -> ModelDescription:
        """Ask for the model's signature; if the server cannot tell, trust the URL."""
        query = GetModelMetadataRequest(model_spec=self._spec, metadata_field=["signature_def"])
        query.model_spec.signature_name = ""
        try:
            reply = self.call_now(f"{SERVICE}/GetModelMetadata", query.SerializeToString())
        except ExternalError as error:
            if getattr(error.__cause__, "code", lambda: None)() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            return self._description_of((), ())
        try:
            return self._read_metadata(reply)
        except (DecodeError, ValueError) as error:
            raise BadReply(f"{self.url}: the model's metadata cannot be read: {error}") from error

    def _read_metadata(self, reply: bytes) -> ModelDescription:
        metadata = GetModelMetadataResponse.FromString(reply)
        signatures = SignatureDefMap.FromString(metadata.metadata["signature_def"].value).signature_def
        wanted = self._served.signature or DEFAULT_SIGNATURE
        if wanted not in signatures:
            raise ConfigurationError(
                f"{self.url}: model '{self._served.model}' has no signature '{wanted}'{nearest(wanted, signatures)}"
            )
        signature = signatures[wanted]
        version = metadata.model_spec.version.value
        found = self._description_of(_specs(signature.inputs), _specs(signature.outputs), str(version or ""))
        self._check_against_url(found)
        return found

    def _check_against_url(self, found: ModelDescription) -> None:
        """Raise ConfigurationError where the URL says something else than the server."""
        problems = []
        for side in ("inputs", "outputs"):
            said, is_so = getattr(self._served, side), getattr(found, side)
            if said and {(s.name, s.dtype, s.shape) for s in said} != {(s.name, s.dtype, s.shape) for s in is_so}:
                problems.append(
                    f"{self.url}: the server's {side} are {', '.join(map(str, is_so))}, "
                    f"not {', '.join(map(str, said))} as its URL says"
                )
        if problems:
            raise ConfigurationError(problems)

    def _description_of(
        self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], version: str = ""
    ) -> ModelDescription:
        served = self._served
        inputs, outputs = inputs or served.inputs, outputs or served.outputs
        specs = (*inputs, *outputs)
        is_batched = bool(specs) and all(spec.shape and spec.shape[0] is None for spec in specs)
        if served.batched != "auto":
            is_batched = served.batched == "yes"
        return ModelDescription(
            served.model,
            version or (served.version if served.version.isdecimal() else ""),
            inputs,
            outputs,
            max_batch_size=None if is_batched else 0,
            platform="tensorflow_serving",
        )


def _specs(tensors: Any) -> tuple[TensorSpec, ...]:
    """Return the tensors of one side of a signature, by name."""
    specs = []
    for name in sorted(tensors):
        info = tensors[name]
        if info.tensor_shape.unknown_rank:
            return ()  # any tensors will do: what has no known number of axes cannot be checked
        specs.append(TensorSpec(name, dtype_of(info.dtype), tuple(axis.size for axis in info.tensor_shape.dim)))
    return tuple(specs)
