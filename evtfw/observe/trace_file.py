"""What a trace is written to, and the counter of requests in flight that it shows."""

from __future__ import annotations

import gzip
import heapq
import json
import threading
from collections import Counter
from pathlib import Path
from typing import IO, Any

from evtfw.core.errors import OutputError

_BUFFERED_CHARACTERS = 1 << 18
_MOST_PENDING = 100_000


class TraceFile:
    """A JSON file that grows by entries of ``traceEvents`` and gets its name when it is complete. Thread-safe.

    Raises:
        OutputError: if it cannot be written; told before the job runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._lock = threading.Lock()
        self._entries: list[str] = []
        self._size = 0
        self._separator = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
            self._part.unlink()
        except OSError as error:
            raise OutputError(
                f"cannot write the trace {path}: {error.strerror}; choose another --trace FILE"
            ) from error

    def open(self) -> None:
        """Begin to write, under another name."""
        self._file = _open_text(self._part, compressed=self.path.suffix == ".gz")
        self._file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')

    def add(self, entry: str) -> None:
        """Add one entry, a JSON object."""
        with self._lock:
            self._entries.append(entry)
            self._size += len(entry)
            if self._size > _BUFFERED_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        if self._entries:
            self._file.write(self._separator + ",\n".join(self._entries))
            self._separator = ",\n"
        self._entries, self._size = [], 0

    def complete(self, about: dict[str, Any]) -> None:
        """Write what is left and give the file its name."""
        with self._lock:
            self._flush()
            self._file.write(f'\n], "otherData": {json.dumps(about)}}}\n')
            self._file.close()
            self._part.replace(self.path)


def _open_text(path: Path, *, compressed: bool) -> IO[Any]:
    """Perfetto reads both; a tenth of the size is worth a little CPU time."""
    return gzip.open(path, "wt", 3) if compressed else path.open("w")


class InFlight:
    """Numbers of requests in flight as steps in the order of time.

    A request is reported only when it ended. Its start lies in an event that is still in flight until then, so that
    steps older than all events in flight are final. Not thread-safe.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, str]] = []
        self._numbers: Counter[str] = Counter()

    def add(self, label: str, submitted_ns: int, replied_ns: int) -> None:
        """Note a request that ended."""
        heapq.heappush(self._steps, (submitted_ns, 1, label))
        heapq.heappush(self._steps, (replied_ns, -1, label))

    def final(self, before_ns: float) -> list[tuple[int, str, int]]:
        """Take out the steps before a time: (time in ns, label, requests in flight from then on)."""
        taken = []
        while self._steps and (self._steps[0][0] < before_ns or len(self._steps) > _MOST_PENDING):
            time_ns, change, label = heapq.heappop(self._steps)
            self._numbers[label] += change
            taken.append((time_ns, label, self._numbers[label]))
        return taken
