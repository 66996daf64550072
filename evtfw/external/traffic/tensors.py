"""Named arrays as bytes, and the key by which a request is found again."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ExternalError
from evtfw.external.contract import Tensors

Signature: TypeAlias = list[list[Any]]
"""Name, dtype, shape and size in bytes of each array: what JSON keeps of them."""

_LENGTH: Final = struct.Struct("<cI")
_DTYPE: Final = re.compile(r"[<>|=][biufcSU]\d{1,9}|O")


class NotRecordable(ExternalError):
    """An array of Python objects that are no strings."""


def pack(tensors: Tensors) -> tuple[Signature, list[memoryview | bytes]]:
    """Return what describes the arrays, in order of their names, and their bytes.

    Raises:
        NotRecordable: an array has elements that are neither numbers nor strings.
    """
    signature: Signature = []
    parts: list[memoryview | bytes] = []
    for name in sorted(tensors):
        array = tensors[name]
        data = _strings(name, array) if array.dtype.kind == "O" else _numbers(name, array)
        signature.append([name, array.dtype.str.replace("|O", "O"), list(array.shape), len(data)])
        parts.append(data)
    return signature, parts


def _numbers(name: str, array: NDArray[Any]) -> memoryview | bytes:
    if not _DTYPE.fullmatch(array.dtype.str) or array.dtype.hasobject:
        raise NotRecordable(f"tensor '{name}' of {array.dtype} cannot be kept in a file")
    if not array.nbytes:
        return b""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _strings(name: str, array: NDArray[Any]) -> bytes:
    """Each element is ``b`` or ``s`` (bytes or text), its length and its bytes."""
    parts = []
    for value in array.ravel().tolist():
        if not isinstance(value, (bytes, str)):
            raise NotRecordable(f"tensor '{name}' has a {type(value).__name__}; only strings can be kept in a file")
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        parts += [_LENGTH.pack(b"s" if isinstance(value, str) else b"b", len(data)), data]
    return b"".join(parts)


def unpack(signature: Signature, body: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays again; those of numbers are read-only views.

    Raises:
        ValueError: the bytes do not fit the description.
    """
    arrays = {}
    at = 0
    for name, dtype, shape, size in signature:
        if not _DTYPE.fullmatch(dtype) or min([0, size, *shape]) < 0 or at + size > len(body):
            raise ValueError(f"tensor '{name}': {dtype} {shape} in {size} bytes")
        data = memoryview(body)[at : at + size]
        at += size
        if dtype == "O":
            arrays[name] = _string_array(data, shape)
            continue
        kind = np.dtype(dtype)
        if math.prod(shape) * kind.itemsize != size:
            raise ValueError(f"tensor '{name}': {dtype} {shape} in {size} bytes")
        flat = np.frombuffer(data, kind) if kind.itemsize and size else np.empty(math.prod(shape), kind)
        arrays[name] = flat.reshape(shape)
    return arrays


def _string_array(data: memoryview, shape: list[int]) -> NDArray[Any]:
    values: list[bytes | str] = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("a string is cut off")
        kind, length = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        text = bytes(data[at : at + length])
        if len(text) != length or kind not in (b"s", b"b"):
            raise ValueError("a string is cut off")
        values.append(text.decode("utf-8", "surrogatepass") if kind == b"s" else text)
        at += length
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} strings for shape {shape}")
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def request_key(model: str, signature: Signature, parts: list[memoryview | bytes]) -> str:
    """Return a digest of model, names, dtypes, shapes and bytes; equal requests have equal keys."""
    digest = hashlib.sha256(repr((model, signature)).encode("utf-8", "surrogatepass"))  # has a processor's instruction
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]


def shapes(signature: Signature) -> str:
    """Return the arrays' names, dtypes and shapes for a message."""
    return ", ".join(
        f"{name}: {'strings' if dtype == 'O' else np.dtype(dtype)} {shape}" for name, dtype, shape, _ in signature
    )
