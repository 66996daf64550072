"""What an input format must offer so that `FileSource` can read it, and how columns are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import InputError, nearest
from evtfw.core.source import Column, ColumnInfo
from evtfw.core.types import scalar_type


class EventFile(Protocol):
    """One open input file: a table of events by columns.

    Attributes:
        path: as the configuration names it.
        place: for messages, e.g. ``file 'a.root', tree 'Events'``.
        column_word: what the format calls a column, e.g. ``branch``.
        entries: number of events.
        columns: all columns by name; their types may be worked out when asked for.
    """

    path: str
    place: str
    column_word: str
    entries: int
    columns: Mapping[str, ColumnInfo]

    def prepare(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Check what the file says about these columns before any event is read.

        Returns:
            Entries at which a chunk may end without anything being decompressed twice; ascending, the last is
            ``entries``.

        Raises:
            InputError: if the file contradicts itself.
        """

    def read(self, names: Sequence[str], first: int, last: int) -> dict[str, Column]:
        """Read entries ``first`` to ``last`` - 1 of these columns.

        Raises:
            InputError: if they cannot be read or decoded; the message says which column and which entries.
        """

    def close(self) -> None:
        """Close the file. May be called more than once."""


class InputChanged(InputError):
    """A file is not any more what it was when the job began; never skipped, since events were taken from it."""


def check_columns(file: EventFile, names: Iterable[str], reference: EventFile | None = None) -> None:
    """Check that a file has all these columns, of the same type as in ``reference``, the first file of the job.

    Raises:
        InputError: with all that are missing or different.
    """
    problems = []
    for name in names:
        if name not in file.columns:
            problems.append(f"no {file.column_word} '{name}'{nearest(name, file.columns)}")
            continue
        here = file.columns[name].type
        if reference is not None and name in reference.columns:
            there = reference.columns[name].type
            if here != there:
                kinds = f"{type_name(here)} here, but {type_name(there)} in '{reference.path}'"
                problems.append(f"{file.column_word} '{name}' is {kinds}")
    if problems:
        entries = f", entries 0-{file.entries - 1}" if file.entries else ""
        raise InputError(f"{file.place}{entries}: " + "; also ".join(problems))


def type_name(kind: Any) -> str:
    """Return a column's type as one says it: ``float32``, ``float32[]``, ``str`` or ``nested``.

    >>> type_name(np.float32), type_name(NDArray[np.int16]), type_name(str)
    ('float32', 'int16[]', 'str')
    """
    if isinstance(kind, type) and (issubclass(kind, np.generic) or kind is str):
        return kind.__name__
    scalar = scalar_type(kind)
    return f"{scalar.__name__}[]" if scalar is not None else "nested"
