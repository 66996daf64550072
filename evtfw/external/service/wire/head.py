"""What a request says about its tensors, without their contents: read once, remembered, and checked strictly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from evtfw.core.errors import BadRequest
from evtfw.external.service.wire.datatypes import dtype_of
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import check_model, check_name, shown

_AXIS_MAX = (1 << 31) - 1


class SharedRange(NamedTuple):
    """A part of a registered shared-memory region."""

    region: str
    offset: int
    size_bytes: int


class InputHead(NamedTuple):
    """An input tensor of a request; ``size_bytes`` is None for strings."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    elements: int
    size_bytes: int | None
    shared: SharedRange | None


class OutputHead(NamedTuple):
    """An output that a request names, and where it shall go if not into the reply."""

    name: str
    shared: SharedRange | None


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a request says but for its id and contents.

    Args:
        model, version: as asked; the version is empty for the newest.
        inputs: one for each tensor, names are unique.
        outputs: as asked; none for all.
        priority: Triton's, 1 is the most urgent; 0 for the model's default.
        timeout_s: how long it may wait; None for as long as the call itself.
        wants_final: the client wants each last response of a stream marked.
    """

    model: str
    version: str
    inputs: tuple[InputHead, ...]
    outputs: tuple[OutputHead, ...]
    priority: int = 0
    timeout_s: float | None = None
    wants_final: bool = False


def read_head(head: bytes, tensors: Iterable[bytes], limits: Limits) -> Head:
    """Read a ModelInferRequest and its InferInputTensors, all without contents.

    Raises:
        BadRequest: names the tensor or parameter and what is wrong with it.
    """
    try:
        request = service_pb2.ModelInferRequest.FromString(head)
        inputs = [service_pb2.ModelInferRequest.InferInputTensor.FromString(tensor) for tensor in tensors]
    except DecodeError:
        raise BadRequest(
            "the message is no valid ModelInferRequest: a name is not UTF-8, or a part does not end"
        ) from None
    check_model(request.model_name, request.model_version, limits)
    parameters = _parameters(request.parameters, "the request", limits)
    timeout_us = _whole(parameters, "timeout", "the request")
    read = Head(
        request.model_name,
        request.model_version,
        tuple([_input(tensor, limits) for tensor in inputs]),
        tuple([_output(output, limits) for output in request.outputs]),
        _whole(parameters, "priority", "the request"),
        timeout_us * 1e-6 if timeout_us else None,
        parameters.get("triton_enable_empty_final_response") is True,
    )
    _refuse_duplicates([tensor.name for tensor in read.inputs], "input")
    _refuse_duplicates([output.name for output in read.outputs], "output")
    return read


def _input(tensor: Any, limits: Limits) -> InputHead:
    name = check_name(tensor.name, "name of an input", limits)
    dtype = dtype_of(tensor.datatype, name)
    shape = tuple(tensor.shape)
    elements = _elements(shape, name, limits)
    shared = _shared(_parameters(tensor.parameters, f"input {shown(name)}", limits), f"input {shown(name)}")
    return InputHead(name, dtype, shape, elements, None if dtype.hasobject else elements * dtype.itemsize, shared)


def _output(output: Any, limits: Limits) -> OutputHead:
    name = check_name(output.name, "name of an output", limits)
    where = f"output {shown(name)}"
    parameters = _parameters(output.parameters, where, limits)
    if parameters.get("classification"):
        raise BadRequest(f"{where} asks for a classification, which this service does not make; take the tensor")
    return OutputHead(name, _shared(parameters, where))


def _elements(shape: tuple[int, ...], name: str, limits: Limits) -> int:
    """Return how many elements a shape has; all of its axes are checked, also beside an empty one."""
    if len(shape) > limits.dimensions:
        raise BadRequest(f"input {shown(name)} has {len(shape)} axes; at most {limits.dimensions} are allowed")
    if shape and min(shape) < 0:
        raise BadRequest(f"input {shown(name)} has the shape {list(shape)}, which has a negative axis")
    if max(shape, default=0) > _AXIS_MAX or math.prod(filter(None, shape)) > limits.elements:
        raise BadRequest(f"input {shown(name)} has the shape {list(shape)}: more than {limits.elements} elements")
    return math.prod(shape)


def _parameters(parameters: Any, where: str, limits: Limits) -> dict[str, Any]:
    if not parameters:
        return {}
    if len(parameters) > limits.parameters:
        raise BadRequest(f"{where} has {len(parameters)} parameters; at most {limits.parameters} are allowed")
    values = {}
    for key, value in parameters.items():
        check_name(key, f"name of a parameter of {where}", limits)
        kind = value.WhichOneof("parameter_choice")
        values[key] = getattr(value, kind) if kind else None
    return values


def _shared(parameters: dict[str, Any], where: str) -> SharedRange | None:
    region = parameters.get("shared_memory_region")
    if region is None:
        return None
    if not isinstance(region, str):
        raise BadRequest(f"{where}: parameter 'shared_memory_region' must be a string")
    size = _whole(parameters, "shared_memory_byte_size", where)
    return SharedRange(region, _whole(parameters, "shared_memory_offset", where), size)


def _whole(parameters: dict[str, Any], key: str, where: str) -> int:
    value = parameters.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise BadRequest(f"{where}: parameter '{key}' must be a whole number that is not negative")
    return value


def _refuse_duplicates(names: list[str], what: str) -> None:
    if len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise BadRequest(f"{what} {shown(twice)} is given twice")
