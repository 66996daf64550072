"""ModelInferResponse messages, written as bytes: what all replies of a model and shape share is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import BadReply
from evtfw.external.contract import Times
from evtfw.external.protobuf_wire import number, prefix, text, varint
from evtfw.external.service.wire.datatypes import datatype_of
from evtfw.external.service.wire.head import SharedRange

Output: TypeAlias = tuple[str, NDArray[Any], SharedRange | None]
"""Name and array, and where it was written if not into the reply."""

_MODEL, _VERSION, _ID, _PARAMETERS, _OUTPUTS, _RAW = 1, 2, 3, 4, 5, 6
_FINAL: Final = text(_PARAMETERS, text(1, b"triton_final_response") + text(2, number(1, 1)))
_KNOWN_HEADS: Final = 256
_SMALL: Final = 1 << 14
_LONGEST: Final = 10


class _Number:
    """A parameter with a whole number; all that stands before its digits is encoded once for each number of these."""

    __slots__ = ("_before",)

    def __init__(self, name: str) -> None:
        key = text(1, name)
        tag = number(2, 0)[:1]
        self._before = []
        for digits in range(_LONGEST + 1):
            value = prefix(2, 1 + digits) + tag
            self._before.append(prefix(_PARAMETERS, len(key) + len(value) + digits) + key + value)

    def __call__(self, value: int) -> bytes:
        digits = varint(max(0, value))
        return self._before[len(digits)] + digits


_QUEUE, _COMPUTE, _HELD, _LATE = map(_Number, ("queue_us", "compute_us", "held_us", "late_us"))
_DEVICE, _DEVICE_QUEUE = map(_Number, ("device_ns", "device_queue_ns"))


class ReplyWriter:
    """Writes the replies of one model; from any thread.

    Args:
        model, version: as served.
    """

    def __init__(self, model: str, version: str) -> None:
        self._model = text(_MODEL, model.encode()) + text(_VERSION, version.encode())
        self._known: dict[tuple[object, ...], bytes] = {}

    def write(self, request_id: bytes, outputs: Sequence[Output], times: Times, *, is_final: bool = False) -> bytes:
        """Return the message.

        Raises:
            BadReply: an output has a type that the protocol does not have.
        """
        pieces: list[bytes | memoryview] = [self._head_of(outputs)]
        if request_id:
            pieces.append(text(_ID, request_id))
        pieces.append(_QUEUE(times.queue_ns // 1000))
        pieces.append(_COMPUTE(times.compute_ns // 1000))
        if times.device_ns:
            pieces += (_HELD(times.held_ns // 1000), _LATE(times.late_ns // 1000))
            pieces += (_DEVICE(times.device_ns), _DEVICE_QUEUE(times.device_queue_ns))
        if is_final:
            pieces.append(_FINAL)
        for _, array, shared in outputs:
            # Clients count on one for each output, so those in shared memory have an empty one.
            content = content_of(array) if shared is None else b""
            pieces.append(prefix(_RAW, len(content)))
            pieces.append(content)
        return b"".join(pieces)

    def _head_of(self, outputs: Sequence[Output]) -> bytes:
        key = tuple([(name, array.dtype, array.shape, shared) for name, array, shared in outputs])
        head = self._known.get(key)
        if head is None:
            head = self._model + b"".join([_output_head(*output) for output in outputs])
            if len(self._known) >= _KNOWN_HEADS:
                self._known.clear()
            self._known[key] = head
        return head


def _output_head(name: str, array: NDArray[Any], shared: SharedRange | None) -> bytes:
    try:
        datatype = datatype_of(array.dtype)
    except ValueError as error:
        raise BadReply(f"output '{name}': {error}") from None
    fields = text(1, name.encode()) + text(2, datatype.encode())
    if array.ndim:
        fields += text(3, b"".join(map(varint, array.shape)))
    if shared is not None:
        fields += _parameter(4, b"shared_memory_region", text(3, shared.region.encode()))
        fields += _parameter(4, b"shared_memory_byte_size", number(2, shared.size_bytes))
        if shared.offset:
            fields += _parameter(4, b"shared_memory_offset", number(2, shared.offset))
    return text(_OUTPUTS, fields)


def _parameter(number: int, name: bytes, value: bytes) -> bytes:
    return text(number, text(1, name) + text(2, value))


def content_of(array: NDArray[Any]) -> bytes | memoryview:
    """Return an array as ``raw_output_contents`` has it; a view if it is large and lies in memory like that."""
    if array.dtype.kind in "OSU":
        return b"".join([_with_length(string) for string in array.ravel().tolist()])
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    if array.nbytes <= _SMALL or not array.flags.c_contiguous:
        return array.tobytes()
    return array.reshape(-1).view(np.uint8).data


def _with_length(string: object) -> bytes:
    content = string if isinstance(string, bytes) else str(string).encode()
    return len(content).to_bytes(4, "little") + content
