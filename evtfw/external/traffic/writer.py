"""Writes a file of traffic in a thread of its own, with bounded memory."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from evtfw.core.errors import ConfigurationError, OutputError
from evtfw.external.traffic.format import MAGIC, record_bytes

MakeRecord: TypeAlias = Callable[[], tuple[dict[str, Any], Iterable[bytes | memoryview]]]
"""Makes head and body of a record; called in the thread that writes."""

QUEUE_BYTES: Final = 64 << 20
"""Who has more to write when so much is waiting, waits as well: traffic is not kept faster than the disk takes it."""

_open_paths: set[str] = set()
_opening = threading.Lock()


class TrafficWriter:
    """An open file, ``FILE.<process>-<random>.part`` until it is complete.

    Args:
        path: the file; one of that name is replaced when this one is complete.

    Raises:
        ConfigurationError: the folder does not exist or cannot be written, or this process writes the file already.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.part = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.part"
        self._key = str(Path(path).resolve())
        with _opening:
            if self._key in _open_paths:
                raise ConfigurationError(f"'{path}' is being recorded by another backend of this process already")
            self._file: BinaryIO = self._create()
            _open_paths.add(self._key)
        self.records = 0
        self.error: BaseException | None = None
        self._queue: deque[tuple[MakeRecord, int]] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition(threading.RLock())
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="evtfw-record", daemon=True)
        self._thread.start()

    def _create(self) -> BinaryIO:
        try:
            if Path(self.path).is_dir():
                raise IsADirectoryError(21, "Is a directory")
            file = open(self.part, "xb", buffering=1 << 16)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise ConfigurationError(f"cannot record to '{self.path}': {error.strerror}") from error
        file.write(MAGIC)
        return file

    def put(self, make: MakeRecord, size_bytes: int, *, may_wait: bool = True) -> None:
        """Write a record some time soon. Waits while very much is queued, if it may; does nothing after an error."""
        with self._changed:
            while may_wait and self._queued_bytes > QUEUE_BYTES and self.error is None and not self._is_closing:
                self._changed.wait()
            if self.error is None and not self._is_closing:
                self._queue.append((make, size_bytes))
                self._queued_bytes += size_bytes
                if len(self._queue) == 1:
                    self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_closing:
                    self._changed.wait()
                if not self._queue:
                    return
                make, size_bytes = self._queue.popleft()
            try:
                if self.error is None:
                    self._write(make)
            except BaseException as error:
                self.error = error
            del make  # an idle thread must not keep arrays alive
            with self._changed:
                self._queued_bytes -= size_bytes
                self._changed.notify_all()

    def _write(self, make: MakeRecord) -> None:
        for part in record_bytes(*make()):
            self._file.write(part)
        if not self._queue:
            self._file.flush()  # what a crash leaves should be nearly all
        self.records += 1

    def close(self) -> None:
        """Write what waits and an end, and give the file its name.

        Raises:
            OutputError: something could not be written; the ``.part`` file has what could.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        try:
            if self.error is None:
                self._complete()
        except OSError as error:
            self.error = error
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            with _opening:
                _open_paths.discard(self._key)
        if self.error is not None:
            reason = getattr(self.error, "strerror", None) or self.error
            raise OutputError(
                f"cannot write '{self.path}': {reason}; '{self.part}' has the first {self.records} records"
            ) from self.error

    def _complete(self) -> None:
        for part in record_bytes({"kind": "end", "records": self.records}):
            self._file.write(part)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        Path(self.part).replace(self.path)
