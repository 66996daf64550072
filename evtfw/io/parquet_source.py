"""Events from Parquet files."""

from __future__ import annotations

import importlib.util

from evtfw.core.errors import InputError
from evtfw.io.event_file import EventFile
from evtfw.io.file_source import FileSource


class ParquetSource(FileSource):
    """Reads events from Parquet files, one row an event, on this machine or by URL; what `ParquetOutput` writes, too.

    Each top-level column is a column, ``source:COLUMN``; only those that somebody consumes are read. Types are as for
    `RootSource`: NumPy scalars, read-only views of lists and fixed-size lists of numbers, str, and awkward arrays for
    what is nested deeper. Nulls are refused in all but the latter. Needs the extra ``parquet``.
    """

    def open_file(self, path: str) -> EventFile:
        """See `FileSource.open_file`."""
        if importlib.util.find_spec("pyarrow") is None:
            raise InputError("ParquetSource needs pyarrow; install it with: pip install 'evtfw[parquet]'")
        from evtfw.io.parquet_file import open_parquet_file

        return open_parquet_file(path)
