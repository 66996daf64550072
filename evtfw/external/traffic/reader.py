"""A file of traffic, read: what was served, and the replies to each request."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

from evtfw.core.errors import ConfigurationError, ExternalError
from evtfw.external.contract import ModelDescription, Provenance, Reply, Times
from evtfw.external.traffic.format import DamagedFile, Record, body_of, records
from evtfw.external.traffic.messages import read_error, read_model, read_times, replayed
from evtfw.external.traffic.tensors import Signature, shapes, unpack


class TrafficFile:
    """The index of a file, with the file open; outputs are read when they are asked for, from any thread.

    Args:
        path: the file.
        url: of the backend that replays it, for provenances.

    Attributes:
        model: what was served.
        slots: how many requests were worked on at the same time.
        backend: URL of the backend that was recorded.
        count: of replies and errors.
        is_complete: whether it was closed; else the job that wrote it ended before its time.

    Raises:
        ConfigurationError: there is no such file, or it is damaged.
    """

    def __init__(self, path: str, url: str) -> None:
        self.path = path
        self._url = url
        self._replies: dict[str, list[Record]] = {}
        self._requests: dict[str, Signature] = {}
        self._provenances: dict[tuple[Any, ...], Provenance] = {}
        self.count = 0
        self.is_complete = False
        self.slots = 1
        self.backend = ""
        self.model: ModelDescription | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise ConfigurationError(f"cannot replay '{path}': {error.strerror}{_parts_of(path)}") from error
        try:
            self._index()
        except (DamagedFile, OSError) as error:
            self.close()
            raise ConfigurationError(f"cannot replay: {error}") from error

    def _index(self) -> None:
        for record in records(self._file, self.path):
            try:
                self._add(record)
            except (KeyError, TypeError, ValueError) as error:
                at = f"the record whose body is at byte {record.body_at}"
                raise DamagedFile(f"'{self.path}': {at} is none that evtfw writes ({error!r})") from None
        if self.model is None:
            raise DamagedFile(f"'{self.path}' ends before it says what was served")
        for replies in self._replies.values():
            replies.sort(key=lambda record: int(record.head["number"]))

    def _add(self, record: Record) -> None:
        head = record.head
        if head["kind"] == "model":
            self.model, self.slots, self.backend = read_model(head), int(head["slots"]), str(head["backend"])
        elif head["kind"] == "reply":
            int(head["number"])
            self._replies.setdefault(str(head["key"]), []).append(record)
            self._requests.setdefault(shapes(head["request"]), head["request"])
            self.count += 1
        elif head["kind"] == "end":
            self.is_complete = True

    def close(self) -> None:
        """Close the file; harmless if it is closed."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def replies(self, key: str) -> list[Record]:
        """Return the replies to a request, in the order in which it was made; empty if it was not."""
        return self._replies.get(key, [])

    def outcome(self, record: Record, *, with_times: bool) -> Reply | ExternalError:
        """Return what came: bit for bit the same arrays."""
        head = record.head
        if "error" in head:
            return read_error(head)
        try:
            outputs = unpack(head["outputs"], body_of(self._file, self.path, record))
            times = read_times(head["times"]) if with_times else Times()
            return Reply(outputs, self._provenance(head["provenance"]), times, tuple(head["nonfinite"]))
        except (DamagedFile, OSError) as error:
            return ExternalError(f"cannot replay: {error}")
        except (KeyError, TypeError, ValueError) as error:
            return ExternalError(f"cannot replay: '{self.path}' is damaged at byte {record.body_at} ({error!r})")

    def _provenance(self, fields: dict[str, Any]) -> Provenance:
        values = tuple(fields.values())
        found = self._provenances.get(values)
        if found is None:
            found = self._provenances[values] = replayed(fields, self._url)
        return found

    def unknown(self, request: Signature) -> str:
        """Say that a request was not recorded, and in what it differs from those that were."""
        model = self.model.name if self.model is not None else ""
        start = f"'{self.path}' has no reply of model '{model}' to this request: "
        mine = shapes(request)
        if not self._requests:
            return f"{start}nothing was recorded"
        if mine in self._requests:
            return f"{start}requests with {mine} were recorded, but with other values"
        names = {name for name, *_ in request}
        alike = [known for known in self._requests.values() if {name for name, *_ in known} == names]
        if not alike:
            return f"{start}it has {mine or 'no inputs'}, recorded were {next(iter(self._requests))}"
        nearest = min(alike, key=lambda known: sum(a != b for a, b in zip(known, request, strict=True)))
        differing = [mine for known, mine in zip(nearest, request, strict=True) if known[:3] != mine[:3]]
        recorded = [known for known, mine in zip(nearest, request, strict=True) if known[:3] != mine[:3]]
        return f"{start}it has {shapes(differing)}, recorded were {shapes(recorded)}"


def _parts_of(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"; there is no folder '{folder}'"
    parts = sorted(folder.glob(f"{glob.escape(Path(path).name)}.*.part"))
    return f"; a job that did not end left '{parts[-1]}', which can be replayed" if parts else ""
