"""Finds the fields of a message that nobody trusts; `evtfw.external.protobuf_wire` reads what a server sends.

Both walk the same format. This one counts fields, keeps within offsets, and says to the byte what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from evtfw.core.errors import BadRequest
from evtfw.external import protobuf_wire
from evtfw.external.protobuf_wire import FIXED32, FIXED64, LENGTH, VARINT


class Field(NamedTuple):
    """Where a field lies in its message.

    Args:
        number: of the field.
        kind: wire type, one of VARINT, FIXED64, LENGTH, FIXED32.
        begin: offset of its tag.
        start: offset of its value; behind the length, for LENGTH.
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
        if kind == LENGTH:
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
    try:
        return protobuf_wire.read_varint(message, position, stop)
    except protobuf_wire.Malformed:
        raise truncated(position) from None


def truncated(position: int) -> BadRequest:
    """Return the error for a message that ends within a field."""
    return BadRequest(f"the message is no valid protobuf: the field at byte {position} does not end")
