"""Reading a Parquet file through pyarrow, row group by row group."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evtfw.core.errors import InputError
from evtfw.core.source import Column, ColumnInfo, JaggedColumn
from evtfw.io.columns import AwkwardColumn, LazyColumns, StringColumn, array_type, read_only
from evtfw.io.files import FileStamp, one_line, scheme_of

_MAGIC = b"PAR1"
_ADVICE = "get a fresh copy of the file, or set on_bad_file='skip'"
_REMOTE_ADVICE = "check the address, the network and the server, or set on_bad_file='skip'"


def open_parquet_file(path: str) -> ParquetFile:
    """Open a local or remote Parquet file.

    Raises:
        InputError: if the file is missing, is not a Parquet file, or is truncated or was never closed.
    """
    if not scheme_of(path):
        _check_magic(path)
    try:
        if scheme_of(path):
            import fsspec  # type: ignore[import-untyped]

            source = fsspec.open(path).open()
        else:
            source = pa.OSFile(path)
        return ParquetFile(path, pq.ParquetFile(source, page_checksum_verification=True))
    except Exception as error:
        advice = _REMOTE_ADVICE if scheme_of(path) else _ADVICE
        raise InputError(f"file '{path}' cannot be opened as a Parquet file: {one_line(error)}; {advice}") from error


def _check_magic(path: str) -> None:
    size_bytes = FileStamp.of(path).size_bytes or 0
    try:
        with open(path, "rb") as file:
            start = file.read(len(_MAGIC))
            file.seek(max(0, size_bytes - len(_MAGIC)))
            end = file.read()
    except OSError as error:
        raise InputError(f"file '{path}' cannot be opened: {one_line(error)}") from error
    if size_bytes == 0:
        raise InputError(f"file '{path}' is empty (0 bytes): its writer never got to write; {_ADVICE}")
    if start != _MAGIC:
        raise InputError(f"file '{path}' is not a Parquet file: it begins with {start!r}, not with {_MAGIC!r}")
    if end != _MAGIC:
        raise InputError(
            f"file '{path}' is truncated or was never closed by its writer: its {size_bytes} bytes do not end with "
            f"{_MAGIC!r}, so what it holds is unknown; {_ADVICE}"
        )


class ParquetFile:
    """An open Parquet file; see `EventFile`. Columns are its top-level columns, one row is one event."""

    column_word = "column"

    def __init__(self, path: str, file: pq.ParquetFile) -> None:
        self.path = path
        self.place = f"file '{path}'"
        self.entries = int(file.metadata.num_rows)
        self._file = file
        self._close = weakref.finalize(self, file.close, force=True)
        self._schema = file.schema_arrow
        self.columns: Mapping[str, ColumnInfo] = LazyColumns(self._schema.names, self._describe)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self._edges = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        self._kept: tuple[int, tuple[str, ...], pa.Table] | None = None

    def _describe(self, name: str) -> ColumnInfo:
        field = self._schema.field(name)
        doc = (field.metadata or {}).get(b"doc", b"").decode("utf-8", errors="replace")
        return ColumnInfo(_type_of(field.type), doc)

    def prepare(self, names: Sequence[str]) -> NDArray[np.int64]:
        """See `EventFile.prepare`: the ends of row groups, and whether they add up."""
        if self._edges[-1] != self.entries:
            raise InputError(f"{self.place}: its row groups do not add up to {self.entries} rows; {_ADVICE}")
        return self._edges[1:]

    def read(self, names: Sequence[str], first: int, last: int) -> dict[str, Column]:
        """See `EventFile.read`."""
        columns: dict[str, Column] = {}
        table = self._table(tuple(names), first, last)
        for name in names:
            place = f"{self.place}, column '{name}', rows {first}-{last - 1}"
            try:
                columns[name] = _column_of(table[name], place)
            except pa.ArrowException as error:
                raise InputError(f"{place}: cannot be converted: {one_line(error)}") from error
        return columns

    def _table(self, names: tuple[str, ...], first: int, last: int) -> pa.Table:
        begin = int(np.searchsorted(self._edges, first, side="right")) - 1
        end = int(np.searchsorted(self._edges, last, side="left"))
        pieces = []
        for group in range(begin, end):
            start, stop = int(self._edges[group]), int(self._edges[group + 1])
            piece = self._row_group(group, names)
            pieces.append(piece.slice(max(first - start, 0), min(last, stop) - max(first, start)))
        return pa.concat_tables(pieces)

    def _row_group(self, group: int, names: tuple[str, ...]) -> pa.Table:
        """Read a row group; it is kept, because the next chunk may begin within it."""
        if self._kept is None or self._kept[:2] != (group, names):
            try:
                # One thread: the workers have the others. It reads ahead of them anyway.
                table = self._file.read_row_group(group, columns=list(names), use_threads=False)
            except Exception as error:
                raise self._locate(group, names, error) from error
            self._kept = (group, names, table)
        return self._kept[2]

    def _locate(self, group: int, names: tuple[str, ...], error: Exception) -> InputError:
        """Read column by column to say which one fails."""
        rows = f"rows {self._edges[group]}-{self._edges[group + 1] - 1}"
        for name in names:
            try:
                self._file.read_row_group(group, columns=[name], use_threads=False)
            except Exception as cause:
                return InputError(
                    f"{self.place}, column '{name}', {rows}: row group {group} cannot be decoded ({one_line(cause)}); "
                    f"the file is probably corrupt: {_ADVICE}"
                )
        return InputError(f"{self.place}, {rows}: row group {group} cannot be read ({one_line(error)}); {_ADVICE}")

    def close(self) -> None:
        """See `EventFile.close`."""
        self._kept = None
        self._close()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _dtype_of(kind: pa.DataType) -> np.dtype[Any] | None:
    """Return the dtype of numbers in lists of a fixed size, or None if it is anything else."""
    while pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return np.dtype(kind.to_pandas_dtype()) if _is_number(kind) else None


def _type_of(kind: pa.DataType) -> Any:
    """Return what ``column[row]`` gives for data of an Arrow type."""
    if _is_string(kind):
        return str
    dtype = _dtype_of(kind)
    if dtype is not None:
        return dtype.type if _is_number(kind) else array_type(dtype)
    if _is_list(kind) and (dtype := _dtype_of(kind.value_type)) is not None:
        return array_type(dtype)
    return ak.Array


def _column_of(data: pa.ChunkedArray, place: str) -> Column:
    kind = data.type
    array = pa.concat_arrays(data.chunks) if data.num_chunks else pa.array([], kind)
    if _type_of(kind) is ak.Array:
        return AwkwardColumn(ak.from_arrow(array))
    _refuse_nulls(array, place)
    if _is_list(kind):
        return JaggedColumn(_values(array.values, place), array.offsets.to_numpy())
    if not _is_string(kind):
        return read_only(_values(array, place))
    strings = array.cast(pa.large_string())
    _, offsets, content = strings.buffers()
    begin, end = strings.offset, strings.offset + len(strings) + 1
    characters = np.frombuffer(content or b"", np.uint8)
    return StringColumn(characters, np.frombuffer(offsets, np.int64)[begin:end] if offsets else np.zeros(1, np.int64))


def _values(array: pa.Array, place: str) -> NDArray[Any]:
    _refuse_nulls(array, place)
    if pa.types.is_fixed_size_list(array.type):
        inner = _values(array.flatten(), place)
        return inner.reshape(len(array), array.type.list_size, *inner.shape[1:])
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values


def _refuse_nulls(array: pa.Array, place: str) -> None:
    if array.null_count:
        raise InputError(f"{place}: {array.null_count} of its values are null; fill them when the file is written")
