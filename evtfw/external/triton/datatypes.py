"""Element types by Triton's names, and the two that NumPy does not have: byte strings and bfloat16."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import BadReply, BadRequest

BYTES: Final = "BYTES"
BF16: Final = "BF16"

_PLAIN: Final = {
    "BOOL": "bool",
    **{f"{kind}INT{bits}": f"{kind.lower()}int{bits}" for kind in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    **{name: np.dtype(dtype) for name, dtype in _PLAIN.items()},
    BYTES: np.dtype(object),
    BF16: np.dtype(np.float32),
}
"""What arrays of each type are here. Strings are objects (``bytes``); bfloat16 is float32, rounded when it is sent."""

_LENGTH: Final = struct.Struct("<I")


def item_size_bytes(datatype: str) -> int:
    """Return the size of an element on the wire; 0 for strings, which have none."""
    if datatype == BYTES:
        return 0
    return 2 if datatype == BF16 else DTYPES[datatype].itemsize


def strings_to_bytes(array: NDArray[Any], name: str) -> bytes:
    """Write an array of ``bytes`` or ``str`` as Triton does: each with its length before it.

    Raises:
        BadRequest: there is something else in it.
    """
    parts: list[bytes] = []
    for item in array.ravel():
        text = item.encode() if isinstance(item, str) else item
        if not isinstance(text, bytes):
            raise BadRequest(f"input '{name}': expected bytes or str in the array, got {type(item).__name__}")
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def bytes_to_strings(data: memoryview, count: int, name: str) -> NDArray[Any]:
    """Read ``count`` byte strings, a one-dimensional array of ``bytes`` objects.

    Raises:
        BadReply: the data end before, or go on after.
    """
    strings = np.empty(min(count, len(data) // 4), dtype=object)
    position, end = 0, len(data)
    for number in range(count):
        start = position + 4
        position = start + (_LENGTH.unpack_from(data, position)[0] if start <= end else 0)
        if start > end or position > end:
            raise BadReply(f"output '{name}': expected {count} strings, but its {end} bytes end in number {number + 1}")
        strings[number] = bytes(data[start:position])
    if position != end:
        raise BadReply(f"output '{name}': expected {count} strings, got {end - position} bytes more")
    return strings


def to_bfloat16(array: NDArray[Any]) -> NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16 (ties to even); NaN stays NaN."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return bfloat16 values as float32, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
