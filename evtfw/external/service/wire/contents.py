"""Contents of tensors as arrays: views into the message wherever numbers lie in it as numpy has them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import BadRequest
from evtfw.external.protobuf_wire import LENGTH
from evtfw.external.service.wire.head import InputHead
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import shown
from evtfw.external.service.wire.protobuf import fields_of

_VARINT_FIELDS: Final = {"b": 1, "i1": 2, "i2": 2, "i4": 2, "i8": 3, "u1": 4, "u2": 4, "u4": 4, "u8": 5}
_PACKED_FIELDS: Final = {"f4": 6, "f8": 7}
_BYTES_FIELD: Final = 8
_NAMES: Final = ("", "bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")


def raw_array(message: bytes, start: int, stop: int, tensor: InputHead, limits: Limits) -> NDArray[Any]:
    """Return the tensor that lies between two offsets as ``raw_input_contents`` has it.

    Raises:
        BadRequest: its length is not what its shape says.
    """
    if tensor.size_bytes is None:
        return _strings(message, start, stop, tensor, limits)
    if stop - start != tensor.size_bytes:
        raise BadRequest(
            f"input {shown(tensor.name)} has {stop - start} bytes of contents; "
            f"its shape {list(tensor.shape)} and datatype need {tensor.size_bytes}"
        )
    if not tensor.size_bytes:
        return np.empty(tensor.shape, tensor.dtype)
    if tensor.dtype.kind == "b":  # any byte but 0 and 1 would be an invalid bool to numpy
        return np.not_equal(np.frombuffer(message, np.uint8, tensor.elements, start), 0).reshape(tensor.shape)
    return np.frombuffer(message, tensor.dtype, tensor.elements, start).reshape(tensor.shape)


def _strings(message: bytes, start: int, stop: int, tensor: InputHead, limits: Limits) -> NDArray[Any]:
    """Each string has its length before it, 4 bytes. They stay bytes: nothing is ever unpickled or decoded."""
    _check_decoded(tensor, limits)
    if stop - start < 4 * tensor.elements:
        raise _wrong_strings(tensor)
    strings = np.empty(tensor.elements, object)
    position = start
    for index in range(tensor.elements):
        begin = position + 4
        position = begin + int.from_bytes(message[begin - 4 : begin], "little")
        if begin > stop or position > stop:
            raise _wrong_strings(tensor)
        strings[index] = message[begin:position]
    if position != stop:
        raise _wrong_strings(tensor)
    return strings.reshape(tensor.shape)


def typed_array(message: bytes, start: int, stop: int, tensor: InputHead, limits: Limits) -> NDArray[Any]:
    """Return the tensor whose InferTensorContents (``fp32_contents``, …) lies between two offsets.

    Raises:
        BadRequest: contents of another type, or not as many elements as its shape says.
    """
    kind = "b" if tensor.dtype.kind == "b" else tensor.dtype.str[1:]
    number = _BYTES_FIELD if tensor.dtype.hasobject else _PACKED_FIELDS.get(kind) or _VARINT_FIELDS.get(kind)
    if number is None:
        raise BadRequest(f"input {shown(tensor.name)} has no typed contents for its datatype; send raw_input_contents")
    at_most = limits.decoded_elements if number == _BYTES_FIELD else limits.fields
    pieces = []
    for field in fields_of(message, start, stop, at_most):
        if field.number != number:
            name = _NAMES[field.number] if field.number < len(_NAMES) else "unknown"
            raise BadRequest(
                f"input {shown(tensor.name)} has {name}_contents; its datatype needs {_NAMES[number]}_contents"
            )
        # A list of one number may come without being packed, which the format allows.
        pieces.append((field.start, field.stop))
        if number == _BYTES_FIELD and field.kind != LENGTH:
            raise BadRequest(f"input {shown(tensor.name)} has bytes_contents that are no bytes")
    if number == _BYTES_FIELD:
        return _listed_strings(message, pieces, tensor, limits)
    return _numbers(message, pieces, tensor, limits)


def _listed_strings(message: bytes, pieces: list[tuple[int, int]], tensor: InputHead, limits: Limits) -> NDArray[Any]:
    _check_decoded(tensor, limits)
    _check_count(len(pieces), tensor)
    strings = np.empty(tensor.elements, object)
    for index, (start, stop) in enumerate(pieces):
        strings[index] = message[start:stop]
    return strings.reshape(tensor.shape)


def _numbers(message: bytes, pieces: list[tuple[int, int]], tensor: InputHead, limits: Limits) -> NDArray[Any]:
    size = sum(stop - start for start, stop in pieces)
    if tensor.dtype.kind == "f":
        _check_count(size / tensor.dtype.itemsize, tensor)
        if len(pieces) == 1:
            return np.frombuffer(message, tensor.dtype, tensor.elements, pieces[0][0]).reshape(tensor.shape)
        joined = b"".join([message[start:stop] for start, stop in pieces])
        return np.frombuffer(bytearray(joined), tensor.dtype).reshape(tensor.shape)
    _check_decoded(tensor, limits)
    if size > 10 * tensor.elements:
        raise _wrong_count("more", tensor)
    encoded = np.frombuffer(bytearray(b"".join([message[start:stop] for start, stop in pieces])), np.uint8)
    return _narrow(_varints(encoded, tensor), tensor).reshape(tensor.shape)


def _varints(encoded: NDArray[np.uint8], tensor: InputHead) -> NDArray[np.uint64]:
    ends = np.flatnonzero(encoded < 0x80)
    _check_count(len(ends), tensor)
    values = np.zeros(len(ends), np.uint64)
    if not len(ends):
        if len(encoded):
            raise _wrong_count("no complete", tensor)
        return values
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 10 or ends[-1] != len(encoded) - 1:
        raise BadRequest(f"input {shown(tensor.name)} has a number in its contents that does not end")
    for byte in range(int(lengths.max())):
        has_byte = np.flatnonzero(lengths > byte)
        values[has_byte] |= (encoded[starts[has_byte] + byte].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(
            7 * byte
        )
    return values


def _narrow(values: NDArray[np.uint64], tensor: InputHead) -> NDArray[Any]:
    if tensor.dtype.kind == "b":
        return np.not_equal(values, 0)
    wide = values if tensor.dtype.kind == "u" else values.view(np.int64)
    narrow: NDArray[Any] = wide.astype(tensor.dtype)
    if not np.array_equal(narrow, wide):
        raise BadRequest(f"input {shown(tensor.name)} has a number that its datatype cannot hold")
    return narrow


def _check_decoded(tensor: InputHead, limits: Limits) -> None:
    if tensor.elements > limits.decoded_elements:
        raise BadRequest(
            f"input {shown(tensor.name)} has {tensor.elements} elements; "
            f"of strings and typed contents at most {limits.decoded_elements} are allowed"
        )


def _check_count(count: float, tensor: InputHead) -> None:
    if count != tensor.elements:
        raise _wrong_count(f"{count:g}", tensor)


def _wrong_count(count: str, tensor: InputHead) -> BadRequest:
    return BadRequest(
        f"input {shown(tensor.name)} has {count} elements in its contents; "
        f"its shape {list(tensor.shape)} needs {tensor.elements}"
    )


def _wrong_strings(tensor: InputHead) -> BadRequest:
    return BadRequest(
        f"input {shown(tensor.name)} has contents that are not {tensor.elements} strings with their lengths before them"
    )
