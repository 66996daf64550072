"""Arrays as ``tensorflow.TensorProto`` and back; numbers that lie in the message as numpy has them are not copied."""

from __future__ import annotations

import functools
import math
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from evtfw.external.protobuf_wire import LENGTH, Malformed, number, prefix, read_fields, read_varint, text
from evtfw.external.tfserving.datatypes import STRING, datatype_of, dtype_of
from evtfw.external.tfserving.messages import TensorProto

Piece: TypeAlias = bytes | NDArray[Any]
"""A part of a message; contiguous arrays stand for their bytes."""

MAX_BYTES: Final = 1 << 31
"""Tensors that would be larger are refused before anything is allocated."""

_DTYPE, _SHAPE, _CONTENT, _FLOATS, _DOUBLES, _STRINGS = 1, 2, 4, 5, 6, 8
_PACKED: Final = {1: _FLOATS, 2: _DOUBLES, 8: 9, 18: 12}
"""The fields that hold numbers as numpy does, by type."""
_VALUES: Final = {
    "float_val": (1,),
    "double_val": (2,),
    "int_val": (3, 4, 5, 6, 11, 12, 13, 15, 16, 17),
    "scomplex_val": (8,),
    "int64_val": (9,),
    "bool_val": (10,),
    "dcomplex_val": (18,),
    "half_val": (19,),
    "uint32_val": (22,),
    "uint64_val": (23,),
}
_FIELD_OF: Final = {datatype: field for field, datatypes in _VALUES.items() for datatype in datatypes}
_MAX_AXES: Final = 32


def write_tensor(array: NDArray[Any]) -> list[Piece]:
    """Return the pieces whose join is the TensorProto of an array; its numbers are not copied if they are contiguous.

    Raises:
        ValueError: TensorFlow has no such type, or a string is neither `bytes` nor `str`.

    >>> b"".join(write_tensor(np.array([1.5], np.float32))).hex(" ")
    '08 01 12 04 12 02 08 01 22 04 00 00 c0 3f'
    """
    if array.dtype.kind in "OSU":
        return [string_tensor(array)]
    return [tensor_head(array.dtype, array.shape), contiguous(array)]


@functools.lru_cache(maxsize=4096)
def tensor_head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return what stands before the numbers in the TensorProto of an array that is not of strings.

    Raises:
        ValueError: TensorFlow has no such type.
    """
    return _head(datatype_of(dtype), shape) + prefix(_CONTENT, math.prod(shape) * dtype.itemsize)


def string_tensor(array: NDArray[Any]) -> bytes:
    """Return the TensorProto of an array of strings. Raises ValueError as `write_tensor` does."""
    values = [text(_STRINGS, _as_bytes(value)) for value in array.ravel().tolist()]
    return b"".join([_head(STRING, array.shape), *values])


def contiguous(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array with its numbers in TensorFlow's order: row by row, little endian; a copy only if need be."""
    if array.flags.c_contiguous and array.dtype.isnative:
        return array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _head(datatype: int, shape: tuple[int, ...]) -> bytes:
    axes = b"".join([text(2, number(1, length)) for length in shape])
    return number(_DTYPE, datatype) + text(_SHAPE, axes)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f"an array of strings must hold bytes or str, not {type(value).__name__}")


def read_tensor(message: bytes | memoryview, *, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Return the array of a TensorProto; a view into the message where it has the numbers as numpy does.

    Args:
        message: of a TensorProto.
        max_bytes: a tensor that would be larger is refused.

    Raises:
        ValueError: it is no TensorProto, or shape, type and contents do not fit each other.
    """
    view = memoryview(message)
    datatype, shape, content, packed, typed = 0, cast("tuple[int, ...]", ()), None, None, 0
    for field, kind, start, end in read_fields(cast(bytes, view)):
        if field == _CONTENT and kind == LENGTH:
            content = view[start:end]
        elif field == _SHAPE and kind == LENGTH:
            shape = _shape(bytes(view[start:end]))
        elif field == _DTYPE:
            datatype = end
        elif field >= _FLOATS:
            typed += 1
            packed = (field, view[start:end]) if kind == LENGTH else None
    dtype = dtype_of(datatype)
    size, size_bytes = math.prod(shape), math.prod(shape) * dtype.itemsize
    if size_bytes > max_bytes:
        raise Malformed(
            f"a tensor of shape {list(shape)} and type {dtype} needs {size_bytes} bytes, more than {max_bytes}"
        )
    if typed == 1 and packed is not None and packed[0] == _PACKED.get(datatype) and len(packed[1]) == size_bytes:
        content = packed[1]
    if content and datatype == STRING:
        return _strings_in_content(content, size).reshape(shape)
    if content or (not size and not typed):
        return _numbers(content, dtype, shape, size_bytes)
    return _typed_values(view, datatype, dtype, size).reshape(shape)


def _numbers(content: memoryview | None, dtype: np.dtype[Any], shape: tuple[int, ...], size_bytes: int) -> NDArray[Any]:
    given = len(content) if content is not None else 0
    if given != size_bytes:
        raise Malformed(f"a tensor of shape {list(shape)} and type {dtype} needs {size_bytes} bytes, but has {given}")
    if content is None:
        return np.empty(shape, dtype)
    if dtype.kind == "b":  # any byte but 0 and 1 would be an invalid bool to numpy
        return np.not_equal(np.frombuffer(content, np.uint8), 0).reshape(shape)
    return np.frombuffer(content, dtype).reshape(shape)


@functools.lru_cache(maxsize=4096)
def _shape(message: bytes) -> tuple[int, ...]:
    axes = []
    for field, kind, start, end in read_fields(message):
        if field == 2 and kind == LENGTH:
            length = 0
            for inner, _, _, value in read_fields(message[start:end]):
                length = value if inner == 1 else length
            if length >= 1 << 63:
                raise Malformed("a tensor has an axis of negative length")
            axes.append(length)
        elif field == 3 and end:
            raise Malformed("a tensor has no known shape")
    if len(axes) > _MAX_AXES:
        raise Malformed(f"a tensor has {len(axes)} axes, more than {_MAX_AXES}")
    return tuple(axes)


def _strings_in_content(content: memoryview, size: int) -> NDArray[Any]:
    """Strings in ``tensor_content``: all lengths first, then all characters."""
    if size > len(content):
        raise Malformed(f"{len(content)} bytes cannot hold {size} strings")
    data, position, lengths = bytes(content), 0, []
    for _ in range(size):
        length, position = read_varint(data, position)
        lengths.append(length)
    if position + sum(lengths) != len(data):
        raise Malformed("strings and their lengths do not fit each other")
    strings = np.empty(size, object)
    for index, length in enumerate(lengths):
        strings[index] = data[position : position + length]
        position += length
    return strings


def _typed_values(view: memoryview, datatype: int, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    """Values in a field of their type; those that are missing at the end equal the last one, as TensorFlow has it."""
    tensor = TensorProto.FromString(bytes(view))
    values: NDArray[Any]
    if datatype == STRING:
        values = np.empty(len(tensor.string_val), object)
        values[:] = list(tensor.string_val)
    elif dtype.kind == "c":
        parts = np.array(getattr(tensor, _FIELD_OF[datatype]), np.empty(0, dtype).real.dtype)
        if len(parts) % 2:
            raise Malformed("a complex number lacks its imaginary part")
        values = parts.view(dtype)
    elif dtype == np.float16:
        values = np.array(tensor.half_val, np.int64).astype(np.uint16).view(np.float16)
    else:
        given = np.array(getattr(tensor, _FIELD_OF[datatype]), np.int64 if dtype.kind == "i" else dtype)
        values = given.astype(dtype, copy=False)
        if dtype.kind == "i" and not np.array_equal(values, given):
            raise Malformed(f"a number is too large for {dtype}")
    if len(values) > size:
        raise Malformed(f"a tensor of {size} elements has {len(values)} values")
    if len(values) == size:
        return values
    filled = np.full(size, values[-1] if len(values) else (b"" if datatype == STRING else 0), dtype)
    filled[: len(values)] = values
    return filled
