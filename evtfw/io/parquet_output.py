"""Events to a Parquet file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator

from evtfw.core.declare import Parameter
from evtfw.core.errors import ConfigurationError
from evtfw.io.batches import BatchedOutput, TableFile
from evtfw.io.compression import Compressions
from evtfw.io.output_columns import Block
from evtfw.io.output_schema import Column

if TYPE_CHECKING:
    import pyarrow as pa

COMPRESSIONS = Compressions(
    {"zstd": (1, 3, 22), "gzip": (1, 6, 9), "brotli": (0, 1, 11), "snappy": None, "lz4": None, "none": None}
)


class ParquetOutput(BatchedOutput):
    """Writes events to a Parquet file; needs pyarrow: ``pip install 'evtfw[parquet]'``.

    A batch becomes a row group. Arrays become lists, arrays of arrays lists of fixed-size lists; nothing is nullable.
    The schema's metadata has an entry ``evtfw`` (JSON) with the version, the paths, and origin, description and unit of
    all columns, and each field has its description and unit.

    Each page carries a checksum, which a reader may verify (``page_checksum_verification=True`` in pyarrow).
    """

    compression = Parameter[Annotated[str, AfterValidator(COMPRESSIONS)]](
        "zstd, gzip or brotli, with a level if wanted, such as 'zstd:3'; snappy, lz4 or none", default="zstd:3"
    )

    def make_file(self, part: Path) -> TableFile:
        """Return the writer of a Parquet file."""
        name, level = COMPRESSIONS.split(self.compression)
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                f"output '{self.label}': ParquetOutput needs pyarrow; install it with: pip install 'evtfw[parquet]'"
            ) from None
        return _ParquetFile(part, name, level)


class _ParquetFile:
    """A Parquet file, one row group per batch."""

    def __init__(self, part: Path, compression: str, level: int | None) -> None:
        self.part = part
        self.compression = compression
        self.level = level
        self._writer: Any = None

    def create(self, schema: tuple[Column, ...]) -> None:
        """Open the file for these columns."""
        import pyarrow as pa
        from pyarrow import parquet

        self._columns = schema
        self._schema = pa.schema([_field(column) for column in schema])
        self._writer = parquet.ParquetWriter(
            self.part,
            self._schema,
            compression=self.compression,
            compression_level=self.level,
            write_page_checksum=True,
        )

    def append(self, blocks: dict[str, Block]) -> None:
        """Write a batch of events."""
        import pyarrow as pa

        arrays = [_array(blocks[column.name], column) for column in self._columns]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))

    def close(self, metadata: str) -> None:
        """Add the metadata (JSON) and complete the file."""
        self._writer.add_key_value_metadata({"evtfw": metadata})
        self._writer.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(Exception):
            self._writer.close()


def _field(column: Column) -> pa.Field:
    import pyarrow as pa

    metadata = {key: value for key, value in (("doc", column.doc), ("unit", column.unit)) if value}
    return pa.field(column.name, _type(column), nullable=False, metadata=metadata or None)


def _item(kind: pa.DataType) -> pa.Field:
    import pyarrow as pa

    return pa.field("item", kind, nullable=False)


def _type(column: Column) -> pa.DataType:
    import pyarrow as pa

    if column.type.kind == "text":
        return pa.string()
    kind = pa.from_numpy_dtype(column.type.dtype)
    if column.type.kind == "scalar":
        return kind
    for size in reversed(column.type.inner):
        kind = pa.list_(_item(kind), size)
    return pa.list_(_item(kind))


def _array(block: Block, column: Column) -> pa.Array:
    """The block as Arrow array, mostly without a copy."""
    import pyarrow as pa

    if block.counts is None:
        return pa.array(block.values)
    offsets = block.offsets.astype(np.int32)
    if column.type.kind == "text":
        return pa.StringArray.from_buffers(len(block.counts), pa.py_buffer(offsets), pa.py_buffer(block.values))
    values = pa.array(block.values.reshape(-1))
    for size in reversed(column.type.inner):
        values = pa.FixedSizeListArray.from_arrays(values, type=pa.list_(_item(values.type), size))
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=pa.list_(_item(values.type)))
