r"""The file of a job's traffic: records, each with a JSON head and a binary body, both with checksums.

::

    file    = "EVTREC1\n", record…
    record  = "EvtR", size of head (u32) and body (u64), CRC-32 of head, body and these 24 bytes (u32), head, body

All numbers are little-endian. A head is JSON in UTF-8, its member ``kind`` says what the record is. The last record of
a complete file is of kind ``end``. Records are only appended, so that what a crash leaves can be read up to the last
whole record. Nothing in a file is executed when it is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from evtfw.core.errors import ExternalError

MAGIC: Final = b"EVTREC1\n"
_MARK: Final = b"EvtR"
_PREFIX: Final = struct.Struct("<4sIQII")
_CRC: Final = struct.Struct("<I")
PREFIX_BYTES: Final = _PREFIX.size + _CRC.size
_MAX_HEAD_BYTES: Final = 1 << 24


class DamagedFile(ExternalError):
    """A file is no record of traffic, or was changed since it was written; the message says where."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """Where a record is, and its head.

    Args:
        head: its JSON object.
        body_at: offset of the body in the file.
        body_bytes: its size.
        body_crc: its checksum.
    """

    head: dict[str, Any]
    body_at: int
    body_bytes: int
    body_crc: int


def record_bytes(head: dict[str, Any], body: Iterable[bytes | memoryview] = ()) -> list[bytes | memoryview]:
    """Return the parts of a record, to be written one after the other."""
    text = json.dumps(head, separators=(",", ":")).encode()
    parts = list(body)
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    prefix = _PREFIX.pack(_MARK, len(text), sum(len(part) for part in parts), zlib.crc32(text), crc)
    return [prefix, _CRC.pack(zlib.crc32(prefix)), text, *parts]


def read_exactly(file: int, size: int, offset: int) -> bytes:
    """Read so many bytes at an offset, fewer only at the end of the file."""
    parts = []
    while size:
        part = os.pread(file, min(size, 1 << 30), offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def records(file: int, name: str) -> Iterator[Record]:
    """Yield the records of an open file; their bodies are not read.

    It stops where the file ends in the middle of a record, or goes on with zeros only, as after a crash.

    Raises:
        DamagedFile: it is no such file, or a head was changed.
    """
    size = os.fstat(file).st_size
    found = read_exactly(file, len(MAGIC), 0)
    if found != MAGIC[: len(found)] or not found:
        raise DamagedFile(f"'{name}' is no record of traffic: it does not begin with {MAGIC!r}")
    at, count = len(MAGIC), 0
    while size - at >= PREFIX_BYTES:
        prefix = read_exactly(file, PREFIX_BYTES, at)
        if not any(prefix) and _is_zero(file, at, size):
            return
        mark, head_bytes, body_bytes, head_crc, body_crc = _PREFIX.unpack(prefix[: _PREFIX.size])
        if mark != _MARK or _CRC.unpack(prefix[_PREFIX.size :])[0] != zlib.crc32(prefix[: _PREFIX.size]):
            raise DamagedFile(_damaged(name, at, count))
        body_at = at + PREFIX_BYTES + head_bytes
        if body_at + body_bytes > size:
            return
        yield Record(_head(file, name, at, head_bytes, head_crc, count), body_at, body_bytes, body_crc)
        at, count = body_at + body_bytes, count + 1


def _head(file: int, name: str, at: int, size: int, crc: int, count: int) -> dict[str, Any]:
    text = read_exactly(file, size, at + PREFIX_BYTES) if size <= _MAX_HEAD_BYTES else b""
    try:
        head = json.loads(text) if zlib.crc32(text) == crc else None
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict):
        raise DamagedFile(_damaged(name, at, count))
    return head


def _damaged(name: str, at: int, count: int) -> str:
    return f"'{name}' is damaged at byte {at}, after {count} whole records: it was changed since it was written"


def _is_zero(file: int, at: int, size: int) -> bool:
    while at < size:
        part = read_exactly(file, min(1 << 20, size - at), at)
        if part.count(0) != len(part):
            return False
        at += len(part)
    return True


def body_of(file: int, name: str, record: Record) -> bytes:
    """Read a record's body.

    Raises:
        DamagedFile: it was changed.
    """
    body = read_exactly(file, record.body_bytes, record.body_at)
    if len(body) != record.body_bytes or zlib.crc32(body) != record.body_crc:
        raise DamagedFile(f"'{name}' is damaged: {record.body_bytes} bytes at {record.body_at} are not as written")
    return body
