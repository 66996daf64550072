"""TensorFlow Serving's PredictionService: Predict and GetModelMetadata, for the same models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from evtfw.core.errors import BadRequest
from evtfw.external.contract import TensorSpec, Times
from evtfw.external.protobuf_wire import LENGTH, text
from evtfw.external.service.endpoint.calls import Behaviour
from evtfw.external.service.endpoint.infer import Inference
from evtfw.external.service.endpoint.rpc import Call
from evtfw.external.service.wire.head import Head, OutputHead
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import check_model, check_name, shown
from evtfw.external.service.wire.protobuf import fields_of
from evtfw.external.service.wire.reply import Output
from evtfw.external.service.wire.request import InferRequest
from evtfw.external.tfserving.datatypes import datatype_of
from evtfw.external.tfserving.messages import (
    SERVICE,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    SignatureDefMap,
)
from evtfw.external.tfserving.tensors import read_tensor, write_tensor

if TYPE_CHECKING:
    from evtfw.external.service.model import HostedModel
    from evtfw.external.service.service import Service

SIGNATURE: Final = "serving_default"
_METHOD: Final = "tensorflow/serving/predict"
_SPEC, _INPUTS, _FILTER = 1, 2, 3
_OUTPUTS, _REPLY_SPEC = 1, 2
_KEY, _VALUE = 1, 2


class Prediction:
    """Answers TensorFlow Serving's calls. Only used in the server's thread.

    Args:
        service: has the models.
        inference: answers requests once they are read.
        limits: of requests.
    """

    def __init__(self, service: Service, inference: Inference, limits: Limits) -> None:
        self._service = service
        self._inference = inference
        self._limits = limits

    def behaviours(self) -> Mapping[str, Behaviour]:
        """Return what answers each method, by its full name."""
        return {f"{SERVICE}/Predict": self._predict, f"{SERVICE}/GetModelMetadata": self._metadata}

    def _predict(self, message: bytes, call: Call) -> None:
        self._inference.answer_read(self._read(message), call, _write_reply)

    def _read(self, message: bytes) -> InferRequest:
        limits = self._limits
        model, version = "", ""
        inputs: dict[str, Any] = {}
        outputs: list[OutputHead] = []
        for number, kind, _, start, stop in fields_of(message, 0, len(message), limits.fields):
            if kind != LENGTH:
                continue
            if number == _SPEC:
                model, version = self._model(message[start:stop])
            elif number == _INPUTS:
                self._read_input(message, start, stop, inputs)
            elif number == _FILTER:
                outputs.append(OutputHead(_text(message[start:stop], "output", limits), None))
                if len(outputs) > limits.tensors:
                    raise BadRequest(f"the request has more than {limits.tensors} outputs")
        check_model(model, version, limits)
        if len({output.name for output in outputs}) != len(outputs):
            raise BadRequest("an output is given twice")
        return InferRequest(Head(model, version, (), tuple(outputs)), b"", inputs, len(message))

    def _model(self, spec: bytes) -> tuple[str, str]:
        if len(spec) > self._limits.head_bytes:
            raise BadRequest(f"the model's name and version have more than {self._limits.head_bytes} bytes")
        return _model_of(_parsed(ModelSpec, spec))

    def _read_input(self, message: bytes, start: int, stop: int, inputs: dict[str, Any]) -> None:
        name, tensor = b"", (start, start)
        for number, kind, _, value, end in fields_of(message, start, stop, 8):
            if kind == LENGTH and number == _KEY:
                name = message[value:end]
            elif kind == LENGTH and number == _VALUE:
                tensor = (value, end)
        key = _text(name, "input", self._limits)
        if key in inputs or len(inputs) >= self._limits.tensors:
            raise BadRequest(f"input {shown(key)} is given twice, or there are more than {self._limits.tensors}")
        try:
            array = read_tensor(
                memoryview(message)[tensor[0] : tensor[1]], max_bytes=min(8 * len(message), self._limits.message_bytes)
            )
        except (ValueError, TypeError, OverflowError, DecodeError) as error:
            raise BadRequest(f"input {shown(key)}: {str(error)[:300]}") from None
        inputs[key] = array

    def _metadata(self, message: bytes, _: Call) -> bytes:
        request = _parsed(GetModelMetadataRequest, message)
        name, version = _model_of(request.model_spec)
        check_model(name, version, self._limits)
        if set(request.metadata_field) != {"signature_def"}:
            raise BadRequest("the only metadata_field is 'signature_def'")
        model = self._service.find(name, version)
        signatures = SignatureDefMap()
        signature = signatures.signature_def[SIGNATURE]
        signature.method_name = _METHOD
        for side, specs in (
            (signature.inputs, model.description.inputs),
            (signature.outputs, model.description.outputs),
        ):
            for spec in specs:
                _describe(side[spec.name], spec)
        response = GetModelMetadataResponse(model_spec=_spec_of(model.name, model.version))
        response.metadata["signature_def"].Pack(signatures)
        reply: bytes = response.SerializeToString()
        return reply


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise BadRequest(f"the message has no valid {kind.DESCRIPTOR.name}") from None


def _text(content: bytes, what: str, limits: Limits) -> str:
    try:
        return check_name(content[: 4 * limits.name_bytes + 4].decode(), f"name of an {what}", limits)
    except UnicodeDecodeError:
        raise BadRequest(f"the name of an {what} is not UTF-8") from None


def _model_of(spec: Any) -> tuple[str, str]:
    """Return name and version; one signature is all there is."""
    if spec.signature_name not in ("", SIGNATURE):
        raise BadRequest(f"there is no signature {shown(spec.signature_name)}; there is '{SIGNATURE}'")
    if spec.HasField("version"):
        return spec.name, str(spec.version.value)
    return spec.name, spec.version_label


def _spec_of(name: str, version: str) -> Any:
    spec = ModelSpec(name=name, signature_name=SIGNATURE)
    if version.isdecimal():
        spec.version.value = int(version)
    return spec


def _describe(info: Any, spec: TensorSpec) -> None:
    info.name = f"{spec.name}:0"
    info.dtype = datatype_of(spec.dtype)
    for length in spec.shape:
        info.tensor_shape.dim.add(size=-1 if length is None else length)
    info.tensor_shape.unknown_rank = False


def _write_reply(model: HostedModel, _: InferRequest, outputs: list[Output], __: Times) -> bytes:
    """Return a PredictResponse."""
    pieces: list[bytes] = []
    for output, array, _shared in outputs:
        tensor = b"".join([bytes(piece) for piece in write_tensor(array)])
        pieces.append(text(_OUTPUTS, text(_KEY, output.encode()) + text(_VALUE, tensor)))
    pieces.append(text(_REPLY_SPEC, _spec_of(model.name, model.version).SerializeToString()))
    return b"".join(pieces)
