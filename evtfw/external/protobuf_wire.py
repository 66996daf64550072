"""Protobuf's wire format, as far as requests and replies need it: tags, lengths, and stepping over what is not known.

Written by hand because protobuf copies large tensors two or three times where joining bytes copies them once, and views
into the message not at all. https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

_LONGEST_VARINT: Final = 10
_DOUBLE: Final = struct.Struct("<d")


class Malformed(ValueError):
    """A message that ends too early, or is no protobuf at all."""


def varint(value: int) -> bytes:
    """Write a whole number; negative ones as protobuf's int64 does.

    >>> varint(300).hex()
    'ac02'
    """
    value &= (1 << 64) - 1
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def prefix(field: int, length: int) -> bytes:
    """Write what stands before ``length`` bytes of a field."""
    return varint(field << 3 | LENGTH) + varint(length)


def text(field: int, value: str | bytes) -> bytes:
    r"""Write a field of text, bytes or a nested message.

    >>> text(1, "toptag")
    b'\n\x06toptag'
    """
    data = value.encode() if isinstance(value, str) else value
    return prefix(field, len(data)) + data


def number(field: int, value: int) -> bytes:
    """Write a field with a whole number."""
    return varint(field << 3 | VARINT) + varint(value)


def read_varint(message: bytes, position: int, stop: int | None = None) -> tuple[int, int]:
    """Return a whole number of 64 bits (not negative) and the position after it.

    Raises:
        Malformed: it does not end before ``stop``, or before the message does.
    """
    value = shift = 0
    end = len(message) if stop is None else stop
    for index in range(position, min(end, position + _LONGEST_VARINT)):
        byte = message[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, index + 1
        shift += 7
    raise Malformed(f"the number at byte {position} does not end")


def read_fields(message: bytes, position: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field, kind, start, end) for each field; for whole numbers ``end`` is the value. Raises Malformed."""
    size = len(message)
    while position < size:
        key = message[position]
        if key < 0x80:
            position += 1
        else:
            key, position = read_varint(message, position)
        kind = key & 7
        if kind == LENGTH:
            if position < size and message[position] < 0x80:
                start = position + 1
                position = start + message[position]
            else:
                length, start = read_varint(message, position)
                position = start + length
            if position > size:
                raise Malformed(f"the message has {size - start} bytes left where {position - start} were announced")
            yield key >> 3, kind, start, position
        elif kind == VARINT:
            start = position
            value, position = read_varint(message, position)
            yield key >> 3, kind, start, value
        elif kind in (FIXED64, FIXED32):
            start, position = position, position + (8 if kind == FIXED64 else 4)
            if position > size:
                raise Malformed("the message ends within a number")
            yield key >> 3, kind, start, position
        else:
            raise Malformed(f"byte {position - 1} is no field of protobuf")


def read_double(message: bytes, position: int) -> float:
    """Return a number of eight bytes."""
    return float(_DOUBLE.unpack_from(message, position)[0])
