"""Bytes as replies. Arrays are views into the message wherever their place in it is aligned."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import BadReply, nearest
from evtfw.external.protobuf_wire import FIXED64, LENGTH, VARINT, Malformed, read_double, read_fields, read_varint
from evtfw.external.triton.datatypes import BF16, BYTES, DTYPES, bytes_to_strings, from_bfloat16, item_size_bytes

# Fields of ModelInferResponse and its parts, grpc_service.proto
_MODEL_NAME, _MODEL_VERSION, _ID, _PARAMETERS, _OUTPUTS, _RAW = 1, 2, 3, 4, 5, 6
_NAME, _DATATYPE, _SHAPE, _CONTENTS = 1, 2, 3, 5

_KEPT_HEADS: Final = 1024
_LONGEST_KEPT: Final = 512


@dataclasses.dataclass(frozen=True, slots=True)
class OutputHead:
    """What a reply says about one output.

    Args:
        has_contents: its values are in the head, typed, and not in a raw field.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    has_contents: bool = False

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class InferReply(NamedTuple):
    """A reply taken apart.

    Args:
        parameters: numbers among its parameters, e.g. ``queue_us``.
        shared: the output that is not in this message, but in shared memory.
    """

    outputs: dict[str, NDArray[Any]]
    model: str
    version: str
    request_id: str
    parameters: dict[str, float]
    shared: OutputHead | None = None


class ReplyDecoder:
    """Reads ``ModelInferResponse`` for one model.

    Args:
        model: what the reply must name.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._heads: dict[bytes, OutputHead] = {}

    def decode(self, message: bytes, request_id: str, shared: str = "") -> InferReply:
        """Take a reply apart.

        Args:
            message: as it came.
            request_id: of the request.
            shared: the output that was asked for in shared memory; none: all are in the message.

        Raises:
            BadReply: it is damaged, belongs to another request or another model, or its values do not fit the shapes.
        """
        try:
            return self._decode(message, request_id, shared)
        except (Malformed, UnicodeDecodeError) as error:
            raise BadReply(f"the reply of {len(message)} bytes cannot be read: {error}") from None

    def _decode(self, message: bytes, request_id: str, shared: str) -> InferReply:
        model = version = found_id = ""
        heads: list[OutputHead] = []
        raw: list[tuple[int, int]] = []
        parameters: dict[str, float] = {}
        for field, kind, start, end in read_fields(message):
            if kind != LENGTH:
                continue
            if field == _RAW:
                raw.append((start, end))
            elif field == _OUTPUTS:
                part = message[start:end]
                heads.append(self._heads.get(part) or self._read_head(part))
            elif field == _ID:
                found_id = message[start:end].decode()
            elif field == _MODEL_NAME:
                model = message[start:end].decode()
            elif field == _MODEL_VERSION:
                version = message[start:end].decode()
            elif field == _PARAMETERS:
                parameters |= _read_parameter(message[start:end])
        if found_id != request_id:
            raise BadReply(f"answer to another request: expected id '{request_id}', got '{found_id[:80]}'")
        if model != self._model:
            raise BadReply(f"answer of another model: expected '{self._model}', got '{model[:80]}'")
        return self._gather(message, heads, raw, shared, InferReply({}, model, version, found_id, parameters))

    def _gather(
        self, message: bytes, heads: list[OutputHead], raw: list[tuple[int, int]], shared: str, reply: InferReply
    ) -> InferReply:
        if len({head.name for head in heads}) != len(heads):
            raise BadReply(f"an output is given twice: {', '.join(head.name for head in heads)}")
        if raw and len(raw) != len(heads):
            raise BadReply(f"expected values of {len(heads)} outputs, got {len(raw)}")
        typed = None
        for number, head in enumerate(heads):
            start, end = raw[number] if raw else (0, 0)
            if head.name == shared and start == end and not head.has_contents:
                reply = reply._replace(shared=head)  # Triton leaves an empty place for it
            elif head.has_contents or not raw:
                typed = typed or _typed_contents(message)
                reply.outputs[head.name] = _typed_array(head, typed[head.name])
            else:
                reply.outputs[head.name] = _raw_array(head, message, start, end)
        return reply

    def _read_head(self, part: bytes) -> OutputHead:
        head = _read_head(part)
        if len(part) <= _LONGEST_KEPT:
            if len(self._heads) >= _KEPT_HEADS:
                self._heads.clear()
            self._heads[part] = head
        return head


def _read_head(part: bytes) -> OutputHead:
    name = datatype = ""
    shape: list[int] = []
    has_contents = False
    for field, kind, start, end in read_fields(part):
        if field == _NAME:
            name = part[start:end].decode()
        elif field == _DATATYPE:
            datatype = part[start:end].decode()
        elif field == _SHAPE:
            shape += [end] if kind == VARINT else _packed(part[start:end])
        elif field == _CONTENTS:
            has_contents = end > start
    if datatype not in DTYPES:
        raise BadReply(f"output '{name[:80]}': there is no datatype '{datatype[:20]}'{nearest(datatype[:20], DTYPES)}")
    if any(length >= 1 << 62 for length in shape) or math.prod(shape) >= 1 << 48:
        signed = [length - (1 << 64) if length >= 1 << 63 else length for length in shape]
        raise BadReply(f"output '{name}': the shape {signed} is impossible")
    return OutputHead(name, datatype, tuple(shape), has_contents)


def _packed(data: bytes) -> list[int]:
    numbers, position = [], 0
    while position < len(data):
        value, position = read_varint(data, position)
        numbers.append(value)
    return numbers


def _read_parameter(entry: bytes) -> dict[str, float]:
    """Return the parameter by name if it is a number."""
    name, found = "", None
    for field, _, start, end in read_fields(entry):
        if field == 1:
            name = entry[start:end].decode()
        elif field == 2:
            content = entry[start:end]
            for _, kind, at, value in read_fields(content):
                if kind == VARINT:
                    found = float(value)
                elif kind == FIXED64:
                    found = read_double(content, at)
    return {} if found is None else {name: found}


def _raw_array(head: OutputHead, message: bytes, start: int, end: int) -> NDArray[Any]:
    datatype = head.datatype
    if datatype == BYTES:
        return _shaped_strings(head, memoryview(message)[start:end])
    expected = head.count * item_size_bytes(datatype)
    if end - start != expected:
        raise BadReply(
            f"output '{head.name}': expected {expected} bytes for {datatype} {list(head.shape)}, got {end - start}"
        )
    return array_in(head, message, start)


def array_in(head: OutputHead, buffer: Any, start: int) -> NDArray[Any]:
    """Return the array that starts somewhere in a buffer: a view, or a copy where that would not be aligned."""
    if head.datatype == BF16:
        return from_bfloat16(np.frombuffer(buffer, np.uint16, head.count, start)).reshape(head.shape)
    array = (
        np.frombuffer(buffer, DTYPES[head.datatype], head.count, start).reshape(head.shape)
        if head.count
        else (np.empty(head.shape, DTYPES[head.datatype]))
    )
    return array if array.flags.aligned else array.copy()


def _shaped_strings(head: OutputHead, data: memoryview) -> NDArray[Any]:
    return bytes_to_strings(data, head.count, head.name).reshape(head.shape)


def _typed_contents(message: bytes) -> dict[str, Any]:
    """Return the typed values of all outputs by name, read by protobuf: few servers use this form."""
    from google.protobuf.message import DecodeError
    from tritonclient.grpc.service_pb2 import ModelInferResponse

    try:
        return {output.name: output.contents for output in ModelInferResponse.FromString(message).outputs}
    except DecodeError as error:
        raise Malformed(str(error)) from None


_CONTENT_FIELDS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def _typed_array(head: OutputHead, contents: Any) -> NDArray[Any]:
    field = _CONTENT_FIELDS.get(head.datatype)
    values = getattr(contents, field) if field else ()
    if len(values) != head.count:
        raise BadReply(
            f"output '{head.name}': expected {head.count} values for {head.datatype} {list(head.shape)}, "
            f"got {len(values)}"
        )
    try:
        array = np.empty(head.count, object) if head.datatype == BYTES else np.array(values, DTYPES[head.datatype])
    except OverflowError as error:
        raise BadReply(f"output '{head.name}': a value does not fit {head.datatype}: {error}") from None
    if head.datatype == BYTES:
        array[:] = list(values)
    return array.reshape(head.shape)
