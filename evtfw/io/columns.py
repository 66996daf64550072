"""Columns of chunks beside plain arrays and lists of numbers, and what columns have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from evtfw.core.source import Column, ColumnInfo, JaggedColumn


class StringColumn:
    """One string per event, decoded when asked for.

    Args:
        content: UTF-8 bytes of all strings, one after another.
        offsets: integer [n_events + 1] into them.
    """

    __slots__ = ("content", "starts")

    def __init__(self, content: NDArray[np.uint8], offsets: NDArray[Any]) -> None:
        self.content = content.tobytes()
        self.starts: list[int] = offsets.tolist()

    def __getitem__(self, row: int) -> str:
        return self.content[self.starts[row] : self.starts[row + 1]].decode("utf-8", errors="surrogateescape")


class AwkwardColumn:
    """Whatever is nested deeper than one list per event: ``column[row]`` is an awkward array or record.

    The slow path: each access is an awkward operation, some ten microseconds. Flat columns, fixed-size arrays, lists of
    numbers and strings never take it.

    Args:
        array: an ``ak.Array``.
    """

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getitem__(self, row: int) -> Any:
        return self.array[row]


class LazyColumns(Mapping[str, ColumnInfo]):
    """Columns by name, whose types are worked out when asked for: a file may have thousands.

    Args:
        names: all of them.
        describe: gives one column's type and title.
    """

    def __init__(self, names: Iterable[str], describe: Callable[[str], ColumnInfo]) -> None:
        self._known: dict[str, ColumnInfo | None] = dict.fromkeys(names)
        self._describe = describe

    def __getitem__(self, name: str) -> ColumnInfo:
        info = self._known[name]
        if info is None:
            info = self._known[name] = self._describe(name)
        return info

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def array_type(dtype: np.dtype[Any]) -> Any:
    """Return ``NDArray[...]`` of this dtype, as modules declare their inputs.

    >>> array_type(np.dtype("float32")) == NDArray[np.float32]
    True
    """
    return cast("Any", NDArray)[dtype.type]


def read_only(values: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written to: products are immutable."""
    view = values.view()
    view.flags.writeable = False
    return view


def size_bytes(column: Column) -> int:
    """Return how much memory a column takes, roughly: its numbers, not the Python objects around them."""
    if isinstance(column, np.ndarray):
        return column.nbytes
    if isinstance(column, JaggedColumn):
        return column.content.nbytes + column.offsets.nbytes
    if isinstance(column, StringColumn):
        return len(column.content) + 8 * len(column.starts)
    return int(column.array.nbytes) if isinstance(column, AwkwardColumn) else 0
