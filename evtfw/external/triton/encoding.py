"""Requests as bytes: what depends only on the shapes is made once, the tensors are copied once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.external.contract import Tensors
from evtfw.external.protobuf_wire import number, prefix, text, varint
from evtfw.external.triton.datatypes import BF16, BYTES, item_size_bytes, strings_to_bytes, to_bfloat16

# Fields of ModelInferRequest and its parts, grpc_service.proto
_MODEL_NAME, _MODEL_VERSION, _ID, _PARAMETERS, _INPUTS, _RAW = 1, 2, 3, 4, 5, 7
_NAME, _DATATYPE, _SHAPE = 1, 2, 3
_INT64, _STRING, _UINT64 = 2, 3, 5

_KEPT_SHAPES: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class WireTensor:
    """A tensor of the model as the wire has it.

    Args:
        name: in the model.
        datatype: Triton's name of the element type.
    """

    name: str
    datatype: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Head:
    """What all requests with the same shapes have in common."""

    start: bytes
    raw_prefixes: tuple[bytes, ...]


class RequestEncoder:
    """Writes ``ModelInferRequest`` for one model.

    Args:
        model, version: as the server knows them; no version: the server's choice.
        inputs: in any order.
        parameters: of every request, text or whole numbers by name.
    """

    def __init__(
        self, model: str, version: str, inputs: Sequence[WireTensor], parameters: Mapping[str, str | int] | None = None
    ) -> None:
        self.start = text(_MODEL_NAME, model) + (text(_MODEL_VERSION, version) if version else b"")
        """The fields that name the model."""
        self.start += b"".join(parameter(name, value) for name, value in (parameters or {}).items())
        self._inputs = tuple(inputs)
        self._names = tuple(tensor.name for tensor in inputs)
        self._special = {t.name: t.datatype for t in inputs if t.datatype in (BYTES, BF16)}
        self._heads: dict[tuple[tuple[int, ...], ...], _Head] = {}

    def encode(self, inputs: Tensors, request_id: str, parameters: bytes = b"") -> bytes:
        """Return the message; ``inputs`` were checked against the model's description.

        Args:
            request_id: comes back in the reply.
            parameters: further fields, as `parameter` makes them.
        """
        names = self._names
        shapes = tuple([inputs[name].shape for name in names])
        head = self._heads.get(shapes) or self._make_head(shapes)
        parts: list[Any] = [head.start, prefix(_ID, len(request_id)), request_id.encode(), parameters]
        for name, raw_prefix in zip(names, head.raw_prefixes, strict=True):
            array = inputs[name]
            if name in self._special:
                data = self.special_bytes(name, array)
                parts += (raw_prefix or prefix(_RAW, len(data)), data)
            else:
                parts += (raw_prefix, array if array.flags.c_contiguous else np.ascontiguousarray(array))
        return b"".join(parts)

    def special_bytes(self, name: str, array: NDArray[Any]) -> bytes:
        """Return the bytes of a tensor that NumPy keeps in another form than the wire."""
        if self._special[name] == BYTES:
            return strings_to_bytes(array, name)
        return to_bfloat16(array).tobytes()

    def _make_head(self, shapes: tuple[tuple[int, ...], ...]) -> _Head:
        start, raw_prefixes = self.start, []
        for tensor, shape in zip(self._inputs, shapes, strict=True):
            start += text(_INPUTS, tensor_field(tensor, shape))
            size_bytes = int(np.prod(shape, dtype=np.int64)) * item_size_bytes(tensor.datatype)
            raw_prefixes.append(b"" if tensor.datatype == BYTES else prefix(_RAW, size_bytes))
        head = _Head(start, tuple(raw_prefixes))
        if len(self._heads) >= _KEPT_SHAPES:  # ragged models: do not grow with the job
            self._heads.clear()
        self._heads[shapes] = head
        return head


def id_field(request_id: str) -> bytes:
    """Write the id of a request."""
    return text(_ID, request_id)


def tensor_field(tensor: WireTensor, shape: tuple[int, ...], parameters: bytes = b"") -> bytes:
    """Write the body of an input: all but its values."""
    axes = b"".join(map(varint, shape))
    return text(_NAME, tensor.name) + text(_DATATYPE, tensor.datatype) + text(_SHAPE, axes) + parameters


def parameter(name: str, value: str | int, field: int = _PARAMETERS) -> bytes:
    """Write a parameter of a request (or, with another field number, of a tensor)."""
    content = text(_STRING, value) if isinstance(value, str) else number(_INT64, value)
    return text(field, text(1, name) + text(2, content))


def unsigned_parameter(name: str, value: int) -> bytes:
    """Write a parameter of a request as Triton wants ``priority``."""
    return text(_PARAMETERS, text(1, name) + text(2, number(_UINT64, value)))


def region_parameters(field: int, region: str, size_bytes: int, offset_bytes: int) -> bytes:
    """Write where in shared memory a tensor lies; the field is that of the tensor's parameters."""
    return (
        parameter("shared_memory_region", region, field)
        + parameter("shared_memory_byte_size", size_bytes, field)
        + (parameter("shared_memory_offset", offset_bytes, field) if offset_bytes else b"")
    )


def requested_output(name: str, parameters: bytes) -> bytes:
    """Write the body of an output that is to come in a particular way."""
    return text(_NAME, name) + parameters
