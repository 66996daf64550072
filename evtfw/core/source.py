"""Where events come from: chunks of consecutive events, columns of which events are views."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evtfw.core.event import EventId
from evtfw.core.module import Module


class Column(Protocol):
    """One quantity of a chunk; ``column[row]`` is the event's product. An ndarray of scalars is a column."""

    def __getitem__(self, row: int, /) -> Any: ...


class JaggedColumn:
    """A variable number of values per event; ``column[row]`` is a view of the content, not a copy.

    Args:
        content: values of all events, one after another; [n_values, ...].
        offsets: integer [n_events + 1]; the values of event i are ``content[offsets[i]:offsets[i+1]]``.
    """

    __slots__ = ("content", "offsets", "starts")

    def __init__(self, content: NDArray[Any], offsets: NDArray[np.integer[Any]]) -> None:
        content = content.view()
        content.flags.writeable = False
        self.content = content
        self.offsets = offsets
        self.starts: list[int] = offsets.tolist()

    def __getitem__(self, row: int) -> NDArray[Any]:
        starts = self.starts
        return self.content[starts[row] : starts[row + 1]]


@dataclasses.dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column that a source offers.

    Args:
        type: what ``column[row]`` gives, e.g. ``NDArray[np.float32]`` for a jagged one, ``np.float32`` for a scalar.
        doc: the title, from the file.
    """

    type: Any
    doc: str = ""


@dataclasses.dataclass(slots=True)
class Chunk:
    """Consecutive events of one origin, read at once.

    Args:
        runs, lumis, events: identification, integer [n].
        columns: by name, the ones that were asked for.
        origin: the file, or what else they come from.
        first_entry: entry in ``origin`` of the first event.
    """

    runs: NDArray[Any]
    lumis: NDArray[Any]
    events: NDArray[Any]
    columns: Mapping[str, Column]
    origin: str = ""
    first_entry: int = 0
    size_bytes: int = 0

    def __len__(self) -> int:
        return len(self.events)

    def event_id(self, row: int) -> EventId:
        """Identification of the event in this row."""
        return EventId(int(self.runs[row]), int(self.lumis[row]), int(self.events[row]))


@dataclasses.dataclass(frozen=True, slots=True)
class SkippedRange:
    """Entries that a source could not give and its policy allowed to skip: events ``first`` to ``last`` - 1."""

    origin: str
    first: int
    last: int
    reason: str


class Source(Module):
    """Base of all sources. A job has exactly one, ``process.source``.

    A subclass gives `columns` and `chunks`. `chunks` is an ordinary blocking generator: the job runs it in a thread of
    its own and reads ahead, so that no worker waits for the disk unless the disk is the bottleneck.
    """

    kind = "source"

    @property
    def skipped(self) -> tuple[SkippedRange, ...]:
        """Ranges that could not be read and were skipped by policy; complete when `chunks` has ended."""
        return ()

    def columns(self) -> Mapping[str, ColumnInfo]:
        """Open what is needed to tell which columns exist. Called once, before `chunks`.

        Raises:
            InputError: if nothing can be opened; the message names the file.
        """
        raise NotImplementedError

    def event_count(self) -> int | None:
        """Number of events if it is known without reading them, for progress and ETA; else None."""
        return None

    def chunks(self, columns: Sequence[str], first: int, count: int | None) -> Iterator[Chunk]:
        """Yield the events from number ``first`` on, at most ``count`` of them, in order.

        Args:
            columns: names to read, a subset of `columns`.
            first: events to pass over without reading them.
            count: events to give at most, or None for all.

        Raises:
            InputError: if something cannot be read and the policy does not allow to skip it.
        """
        raise NotImplementedError
