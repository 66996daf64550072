"""System shared memory that clients register: read and written with bounds, never mapped.

A client could shorten its file at any time, and touching a mapping of it would then kill the service; reading and
writing a file only fails. It also means that a request is computed with what it was when it came.
"""

from __future__ import annotations

import os
import re
import stat
import weakref
from typing import NamedTuple

from evtfw.core.errors import BadRequest
from evtfw.external.errors import Overloaded
from evtfw.external.service.wire.head import SharedRange
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import check_name, shown

FOLDER = "/dev/shm"  # noqa: S108 (where POSIX shared memory is)
_KEY = re.compile(r"/?(?!\.)[A-Za-z0-9_.+-]{1,250}", re.ASCII)


class RegionStatus(NamedTuple):
    """A region as it was registered."""

    name: str
    key: str
    offset: int
    size_bytes: int


class Region:
    """A part of a shared-memory object; closed when nobody refers to it any more, requests in flight included."""

    def __init__(self, status: RegionStatus, descriptor: int) -> None:
        self.status = status
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return a copy of a range. Raises BadRequest if it is not inside, or no longer there."""
        self._check(offset, size_bytes)
        content = os.pread(self._descriptor, size_bytes, self.status.offset + offset)
        if len(content) != size_bytes:
            raise self._shrunk()
        return content

    def write(self, offset: int, content: bytes | memoryview) -> None:
        """Write a range. Raises BadRequest if it is not inside, or no longer there."""
        self._check(offset, len(content))
        start = self.status.offset + offset
        if os.fstat(self._descriptor).st_size < start + len(content):
            raise self._shrunk()
        if os.pwrite(self._descriptor, content, start) != len(content):
            raise self._shrunk()

    def _check(self, offset: int, size_bytes: int) -> None:
        if offset + size_bytes > self.status.size_bytes:
            raise BadRequest(
                f"bytes {offset} to {offset + size_bytes} are not inside shared-memory region "
                f"{shown(self.status.name)}, which has {self.status.size_bytes} bytes"
            )

    def _shrunk(self) -> BadRequest:
        return BadRequest(f"shared-memory region {shown(self.status.name)} has become shorter since it was registered")


class Regions:
    """The registered regions, by name. Only used in the server's thread.

    Args:
        limits: how many there may be, and how long names are.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, size_bytes: int) -> None:
        """Open a shared-memory object of this machine.

        Raises:
            BadRequest: the name is taken, the key is none, or the object is not that large. The key is not told.
            Overloaded: there are too many.
        """
        check_name(name, "name of the shared-memory region", self._limits)
        if name in self._regions:
            raise BadRequest(f"shared-memory region {shown(name)} is registered already")
        if len(self._regions) >= self._limits.regions:
            raise Overloaded(f"there are {self._limits.regions} shared-memory regions already; unregister one")
        if not _KEY.fullmatch(key):
            raise BadRequest(f"the key of shared-memory region {shown(name)} is no key of shared memory")
        if not size_bytes:
            raise BadRequest(f"shared-memory region {shown(name)} has no bytes")
        descriptor = self._open(name, key)
        region = Region(RegionStatus(name, key, offset, size_bytes), descriptor)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or offset + size_bytes > found.st_size:
            raise BadRequest(f"shared-memory region {shown(name)} does not fit into its object")
        self._regions[name] = region

    @staticmethod
    def _open(name: str, key: str) -> int:
        try:
            return os.open(
                f"{FOLDER}/{key.removeprefix('/')}",
                os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY,
            )
        except OSError:
            raise BadRequest(f"the object of shared-memory region {shown(name)} cannot be opened") from None

    def unregister(self, name: str) -> None:
        """Forget a region, or all if the name is empty; requests in flight keep theirs until they end."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def status(self, name: str) -> list[RegionStatus]:
        """Return one region, or all if the name is empty."""
        return [self.find(name).status] if name else [region.status for region in self._regions.values()]

    def find(self, name: str) -> Region:
        """Return a region. Raises BadRequest if there is none."""
        region = self._regions.get(name)
        if region is None:
            raise BadRequest(f"there is no shared-memory region {shown(name)}; register it first")
        return region

    def read(self, shared: SharedRange) -> bytes:
        """Return a copy of a range of a region. Raises BadRequest."""
        return self.find(shared.region).read(shared.offset, shared.size_bytes)
