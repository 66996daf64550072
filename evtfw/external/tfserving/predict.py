"""``PredictRequest`` and ``PredictResponse`` as bytes."""

from __future__ import annotations

import functools
import math
from typing import Any, Final, cast

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from evtfw.external.contract import Tensors
from evtfw.external.protobuf_wire import LENGTH, Malformed, prefix, read_fields, text
from evtfw.external.tfserving.messages import ModelSpec
from evtfw.external.tfserving.tensors import MAX_BYTES, Piece, contiguous, read_tensor, string_tensor, tensor_head

_MODEL_SPEC, _INPUTS = 1, 2
_OUTPUTS, _REPLY_SPEC = 1, 2
_KEY, _VALUE = 1, 2
_MAX_VERSION: Final = (1 << 63) - 1


def model_spec(model: str, version: str = "", signature: str = "") -> Any:
    """Return the ModelSpec of a model; a version that is no number is a label such as ``stable``."""
    spec = ModelSpec(name=model, signature_name=signature)
    if version.isdecimal() and int(version) <= _MAX_VERSION:
        spec.version.value = int(version)
    elif version:
        spec.version_label = version
    return spec


def request_head(spec: Any) -> bytes:
    """Return what all requests for a model begin with."""
    return text(_MODEL_SPEC, spec.SerializeToString())


def write_request(head: bytes, inputs: Tensors) -> list[Piece]:
    """Return the pieces whose join is a PredictRequest; arrays are not copied if they are contiguous.

    Raises:
        ValueError: an array's type is none of TensorFlow's; the message names the input.
    """
    pieces: list[Piece] = [head]
    for name, array in inputs.items():
        try:
            if array.dtype.kind in "OSU":
                pieces.append(text(_INPUTS, text(_KEY, name) + text(_VALUE, string_tensor(array))))
            else:
                pieces.append(_entry_head(name, array.dtype, array.shape))
                pieces.append(contiguous(array))
        except ValueError as error:
            raise ValueError(f"input '{name}': {error}") from None
    return pieces


@functools.lru_cache(maxsize=4096)
def _entry_head(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return all of an entry in the map of inputs but its numbers."""
    size_bytes = math.prod(shape) * dtype.itemsize
    tensor = tensor_head(dtype, shape)
    entry = text(_KEY, name) + prefix(_VALUE, len(tensor) + size_bytes) + tensor
    return prefix(_INPUTS, len(entry) + size_bytes) + entry


def read_reply(message: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[dict[str, NDArray[Any]], str]:
    """Return the outputs of a PredictResponse, views into it where possible, and the version that answered.

    Raises:
        ValueError: it is no PredictResponse; the message names the output.
    """
    outputs: dict[str, NDArray[Any]] = {}
    version = ""
    view = memoryview(message)
    for field, kind, start, end in read_fields(message):
        if field == _OUTPUTS and kind == LENGTH:
            name, tensor = _entry(view[start:end])
            try:
                outputs[name] = read_tensor(tensor, max_bytes=max_bytes)
            except (ValueError, DecodeError) as error:
                raise Malformed(f"output '{name}': {error}") from error
        elif field == _REPLY_SPEC and kind == LENGTH:
            version = _version(message[start:end])
    return outputs, version


def _entry(view: memoryview) -> tuple[str, memoryview]:
    """Return key and value of an entry of a map."""
    name, value = "", view[:0]
    for field, kind, start, end in read_fields(cast(bytes, view)):
        if field == _KEY and kind == LENGTH:
            name = bytes(view[start:end]).decode()
        elif field == _VALUE and kind == LENGTH:
            value = view[start:end]
    return name, value


@functools.lru_cache(maxsize=256)
def _version(spec: bytes) -> str:
    try:
        version = ModelSpec.FromString(spec).version.value
    except DecodeError as error:
        raise Malformed(f"the model's name and version cannot be read: {error}") from error
    return str(version) if version else ""
