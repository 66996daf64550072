"""The wire format of protobuf as far as it takes to find fields in a message, and to write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from evtfw.core.errors import BadRequest

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class Field(NamedTuple):
    """Where a field lies in its message.

    Args:
        number: of the field.
        kind: wire type, one of VARINT, FIXED64, BYTES, FIXED32.
        begin: offset of its tag.
        start: offset of its value; behind the length, for BYTES.
        stop: offset behind its value.
    """

    number: int
    kind: int
    begin: int
    start: int
    stop: int


def fields_of(message: bytes, start: int, stop: int, at_most: int) -> Iterator[Field]:
    """Yield the fields between two offsets, in their order, without reading their values.

    Raises:
        BadRequest: the bytes are no message (truncated, a group, …) or have more than ``at_most`` fields.
    """
    position = start
    count = 0
    while position < stop:
        begin = position
        count += 1
        if count > at_most:
            raise BadRequest(f"the message has more than {at_most} fields")
        tag = message[position]
        position += 1
        if tag >= 0x80:
            tag, position = read_varint(message, begin, stop)
        kind = tag & 7
        if kind == BYTES:
            if position >= stop:
                raise truncated(begin)
            size = message[position]
            position += 1
            if size >= 0x80:
                size, position = read_varint(message, position - 1, stop)
            value = position
            position += size
        else:
            value = position
            position = _end_of_number(message, kind, position, stop)
        if position > stop:
            raise truncated(begin)
        if tag < 8:
            raise BadRequest(f"the message has a field of number 0 at byte {begin}")
        yield Field(tag >> 3, kind, begin, value, position)


def _end_of_number(message: bytes, kind: int, position: int, stop: int) -> int:
    if kind == VARINT:
        return read_varint(message, position, stop)[1]
    if kind == FIXED32:
        return position + 4
    if kind == FIXED64:
        return position + 8
    raise BadRequest(
        f"the message has a field of wire type {kind} at byte {position - 1}, which this service has none of"
    )


def read_varint(message: bytes, position: int, stop: int) -> tuple[int, int]:
    """Return the number at an offset and the offset behind it. Raises BadRequest if it does not end."""
    value = shift = 0
    for index in range(position, min(stop, position + _LONGEST_VARINT)):
        byte = message[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, index + 1
        shift += 7
    raise truncated(position)


def truncated(position: int) -> BadRequest:
    """Return the error for a message that ends within a field."""
    return BadRequest(f"the message is no valid protobuf: the field at byte {position} does not end")


def varint(value: int) -> bytes:
    """Return the encoding of a number of 64 bits; negative ones as int64 has them.

    >>> varint(300).hex()
    'ac02'
    """
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def prefix(number: int, size: int) -> bytes:
    """Return what stands before a value of ``size`` bytes: its tag and length."""
    return varint(number << 3 | BYTES) + varint(size)


def bytes_field(number: int, value: bytes) -> bytes:
    r"""Return a field of bytes, a string or a message.

    >>> bytes_field(1, b"toptag")
    b'\n\x06toptag'
    """
    return prefix(number, len(value)) + value


def number_field(number: int, value: int) -> bytes:
    """Return a field with a whole number or a bool."""
    return varint(number << 3 | VARINT) + varint(value)
