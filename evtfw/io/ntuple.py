"""Reading an RNTuple through uproot."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from evtfw.core.errors import InputError
from evtfw.core.source import Column, ColumnInfo
from evtfw.io.branches import column_of, type_of_form
from evtfw.io.columns import LazyColumns
from evtfw.io.files import one_line

_CORRUPT = "the file is probably corrupt: get a fresh copy, or set on_bad_file='skip'"
_CACHE_BYTES = 64 << 20


class NTupleFile:
    """An open RNTuple; see `EventFile`. Columns are its top-level fields."""

    column_word = "field"

    def __init__(self, path: str, directory: Any, ntuple: Any) -> None:
        self.path = path
        self.place = f"file '{path}', ntuple '{ntuple.name}'"
        self.entries = int(ntuple.num_entries)
        self._close = weakref.finalize(self, directory.close)
        self._ntuple = ntuple
        self.columns: Mapping[str, ColumnInfo] = LazyColumns(ntuple.keys(recursive=False), self._describe)
        # uproot reads the cluster after the one asked for, too: keep it, it is wanted next.
        self._cache = uproot.LRUArrayCache(_CACHE_BYTES)

    def _describe(self, name: str) -> ColumnInfo:
        try:
            form, _ = self._ntuple.to_akform(filter_name=[name])
            kind = type_of_form(form.content(name))
        except Exception:  # a type that uproot cannot read: told by `prepare`, if somebody wants it
            kind = object
        return ColumnInfo(kind, str(self._ntuple[name].description))

    def prepare(self, names: Sequence[str]) -> NDArray[np.int64]:
        """See `EventFile.prepare`: the ends of clusters, and whether they add up."""
        for name in names:
            if self.columns[name].type is object:
                kind = self._ntuple[name].typename
                raise InputError(f"{self.place}, field '{name}': uproot cannot read its type, {kind}; do not use it")
        clusters = self._ntuple.cluster_summaries
        begins = np.array([cluster.num_first_entry for cluster in clusters], np.int64)
        sizes = np.array([cluster.num_entries for cluster in clusters], np.int64)
        ends = begins + sizes
        if sizes.sum() != self.entries or (begins[1:] != ends[:-1]).any():
            raise InputError(f"{self.place}: its clusters do not add up to {self.entries} entries; {_CORRUPT}")
        return ends

    def read(self, names: Sequence[str], first: int, last: int) -> dict[str, Column]:
        """See `EventFile.read`."""
        try:
            arrays = self._arrays(names, first, last)
            return {name: column_of(arrays[name]) for name in names}
        except MemoryError:
            raise
        except Exception as error:
            raise self._locate(names, first, last, error) from error

    def _arrays(self, names: Sequence[str], first: int, last: int) -> ak.Array:
        arrays = self._ntuple.arrays(
            filter_name=list(names), entry_start=first, entry_stop=last, library="ak", array_cache=self._cache
        )
        if len(arrays) != last - first:
            raise ValueError(f"it gave {len(arrays)} entries of {last - first}")
        return arrays

    def _locate(self, names: Sequence[str], first: int, last: int, error: Exception) -> InputError:
        """Read field by field to say which one fails."""
        for name in names:
            try:
                column_of(self._arrays([name], first, last)[name])
            except Exception as cause:
                place = f"{self.place}, field '{name}', entries {first}-{last - 1}"
                return InputError(f"{place}: cannot be decoded ({one_line(cause)}); {_CORRUPT}")
        return InputError(f"{self.place}, entries {first}-{last - 1}: cannot be read ({one_line(error)}); {_CORRUPT}")

    def close(self) -> None:
        """See `EventFile.close`."""
        self._close()
