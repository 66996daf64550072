"""Columns of an output: what one holds, and how the values of many events become one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import OutputError, ProductError
from evtfw.core.event import Absent
from evtfw.core.source import Chunk, JaggedColumn

Kind: TypeAlias = Literal["scalar", "jagged", "text"]
MANY = "arrays, numbers, strings, and dataclasses, named tuples or dicts of them"


@dataclasses.dataclass(frozen=True, slots=True)
class ColumnType:
    """What one event has in a column.

    Args:
        kind: one value, a variable number of values, or a string.
        dtype: of the values; a NumPy type that all formats know.
        inner: shape of each value of a jagged column, usually ``()``.
    """

    kind: Kind
    dtype: np.dtype[Any]
    inner: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.kind == "text":
            return "string"
        shape = "" if self.kind == "scalar" else f"[{', '.join(['n', *map(str, self.inner)])}]"
        return f"{self.dtype}{shape}"


TEXT = ColumnType("text", np.dtype(np.uint8))


@dataclasses.dataclass(slots=True)
class Block:
    """A column of consecutive events.

    Args:
        counts: number of values (bytes, for text) of each event, int64 [n_events]; None for scalars.
        values: of all events, one after another; [n_values, *inner].
    """

    counts: NDArray[np.int64] | None
    values: NDArray[Any]

    @property
    def size_bytes(self) -> int:
        """Memory it takes."""
        return self.values.nbytes + (0 if self.counts is None else self.counts.nbytes)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each event's values begin, and the end: int64 [n_events + 1]."""
        counts = self.counts if self.counts is not None else np.ones(len(self.values), np.int64)
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return offsets


def joined(blocks: Sequence[Block]) -> Block:
    """One block after another as one."""
    if len(blocks) == 1:
        return blocks[0]
    counts = None if blocks[0].counts is None else np.concatenate([b.counts for b in blocks if b.counts is not None])
    return Block(counts, np.concatenate([b.values for b in blocks]))


def type_of(value: Any) -> ColumnType | None:
    """The column type of a plain product; None if it is not one."""
    if isinstance(value, str):
        return TEXT
    if isinstance(value, np.ndarray):
        dtype = writable(value.dtype)
        return dtype and ColumnType("scalar" if value.ndim == 0 else "jagged", dtype, value.shape[1:])
    if isinstance(value, (bool, int, float, np.generic)):
        dtype = writable(np.asarray(value).dtype)
        return dtype and ColumnType("scalar", dtype)
    return None


def first_type(values: Iterable[Any]) -> tuple[ColumnType | None, bool]:
    """Type of the first value, and whether it is certain: ``np.array([])`` is float64 whatever the others will be."""
    first: ColumnType | None = None
    for value in values:
        found = type_of(value)
        if found is None:
            return None, True
        if found.kind != "jagged" or len(value):
            return found, True
        first = first or found
    return first, False


def writable(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type that a column of these values has: native byte order, half precision widened; None if there is none."""
    if dtype == np.float16:
        return np.dtype(np.float32)
    return dtype.newbyteorder("=") if dtype.kind in "biuf" and dtype.itemsize <= 8 else None


Places: TypeAlias = list[tuple[Chunk, NDArray[np.int64]]]
"""Events in the order they are written: each run of them in one chunk, with their rows."""
Describe: TypeAlias = Callable[[int], str]
"""Says of which product and event value number i is, for messages."""


def stacked(values: Sequence[Any], column: ColumnType, where: Describe, *, fill: bool) -> Block:
    """The values of many events as one block.

    Args:
        values: one plain product per event, `Absent` where there is none.
        column: what they must be.
        where: for messages.
        fill: give 0, False or an empty string for absent numbers without a NaN.

    Raises:
        OutputError: for a value that is of another type, or absent and not to be filled.
    """
    try:
        return _stack(values, column)
    except (TypeError, ValueError, OverflowError, AttributeError, ProductError):
        # Rare: something is absent or of another type. Look at each value.
        checked = [_checked(value, column, where, i, fill=fill) for i, value in enumerate(values)]
        return _stack(checked, column)


def _stack(values: Sequence[Any], column: ColumnType) -> Block:
    if column.kind == "jagged":
        counts = np.fromiter(map(len, values), np.int64, len(values))
        content = np.concatenate(values, dtype=column.dtype, casting="equiv")
        if content.shape[1:] != column.inner:
            raise ValueError("other inner shape")
        return Block(counts, content)
    if column.kind == "text":
        encoded = [value.encode() for value in values]
        return Block(np.fromiter(map(len, encoded), np.int64, len(encoded)), np.frombuffer(b"".join(encoded), np.uint8))
    content = np.array(values)
    if content.ndim != 1 or not lossless(content.dtype, column.dtype):
        raise TypeError("other type")
    return Block(None, content.astype(column.dtype, copy=False))


def lossless(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether values of one type fit into another of the same kind."""
    return given.kind == wanted.kind and np.can_cast(given, wanted, "safe")


def _checked(value: Any, column: ColumnType, where: Describe, i: int, *, fill: bool) -> Any:
    """A value of exactly the column's type in place of ``value``."""
    if value.__class__ is Absent:
        return _absent(column, where, i, fill=fill)
    found = type_of(value)
    if found is not None and found.kind == column.kind:
        if column.kind == "text":
            return value
        if column.kind == "scalar":
            if lossless(found.dtype, column.dtype) or _is_exact(value, column.dtype):
                return column.dtype.type(value)
        elif value.size == 0:  # np.array([]) is float64 whatever the others are; it has no value to be lost
            return np.empty((0, *column.inner), column.dtype)
        elif found.inner == column.inner and lossless(found.dtype, column.dtype):
            return value.astype(column.dtype)
    raise OutputError(
        f"{where(i)} is {found or type(value).__name__}, but {column} in the events before; a column has one type: "
        "make the module put the same type for every event"
    )


def _is_exact(value: Any, dtype: np.dtype[Any]) -> bool:
    """Whether a plain Python number, which has no width of its own, is the same number in this type."""
    if type(value) not in (int, float) or dtype.kind == "b":
        return False
    try:
        return bool(dtype.type(value) == value) or value != value  # noqa: PLR0124
    except (OverflowError, ValueError):
        return False


def _absent(column: ColumnType, where: Describe, i: int, *, fill: bool) -> Any:
    if column.kind == "jagged":
        return np.empty((0, *column.inner), column.dtype)
    if column.dtype.kind == "f":
        return column.dtype.type(np.nan)
    if not fill:
        raise OutputError(
            f"{where(i)} is absent, and a column of {column} has no value that says so; set flag_absent=True, which "
            "adds a column that tells, or keep only events that have it"
        )
    return "" if column.kind == "text" else column.dtype.type(0)


def gathered(name: str, places: Places, column: ColumnType) -> Block:
    """A column of the source for chosen events, without looking at each.

    Args:
        name: of the column.
        places: where the events are.
        column: what the values must be.

    Raises:
        OutputError: if a chunk has it in another type.
    """
    blocks = []
    for chunk, rows in places:
        block = _gather(chunk.columns[name], rows, column)
        if block is None:
            raise OutputError(
                f"column '{name}' of '{chunk.origin}' has another type than in the files before ({column}); write "
                "these files in jobs of their own, or drop the column"
            )
        blocks.append(block)
    return joined(blocks)


def type_in(places: Places, name: str) -> ColumnType | None:
    """The column type of a column of the source in these events; None if it has no place in a table."""
    column: Any = places[0][0].columns[name]
    if not isinstance(column, (JaggedColumn, np.ndarray)):
        return first_type(chunk.columns[name][row] for chunk, rows in places for row in rows.tolist())[0]
    content = column.content if isinstance(column, JaggedColumn) else column
    dtype = writable(content.dtype)
    if dtype is None:
        return None
    if isinstance(column, JaggedColumn):
        return ColumnType("jagged", dtype, content.shape[1:])
    return ColumnType("scalar", dtype) if content.ndim == 1 else ColumnType("jagged", dtype, content.shape[2:])


def _gather(source: Any, rows: NDArray[np.int64], column: ColumnType) -> Block | None:
    if isinstance(source, JaggedColumn):
        starts = source.offsets[rows].astype(np.int64, copy=False)
        counts = source.offsets[rows + 1] - starts
        values = source.content[_positions(starts, counts)]
        kind: Kind = "jagged"
    elif isinstance(source, np.ndarray):
        values = source[rows]
        kind, counts = "scalar", np.empty(0, np.int64)
        if source.ndim > 1:
            kind, counts = "jagged", np.full(len(rows), source.shape[1], np.int64)
            values = values.reshape(-1, *source.shape[2:])
    else:
        return stacked([source[row] for row in rows.tolist()], column, lambda _: "a column of the source", fill=False)
    native = writable(values.dtype)
    if native is None or kind != column.kind or not lossless(native, column.dtype):
        return None
    if kind == "jagged" and values.shape[1:] != column.inner:
        return None
    # A view would hold the whole chunk in memory.
    return Block(counts if kind == "jagged" else None, values.astype(column.dtype, copy=values.base is not None))


def _positions(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Where the values of chosen events are in the content of all."""
    stops = starts + counts
    if (starts[1:] == stops[:-1]).all():
        return slice(int(starts[0]), int(stops[-1]))
    first_of_each = np.cumsum(counts) - counts
    return np.repeat(starts - first_of_each, counts) + np.arange(int(counts.sum()))
