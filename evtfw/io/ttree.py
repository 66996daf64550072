"""Reading a TTree through uproot, by whole clusters, with the checks that tell a damaged file before it does harm."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import InputError
from evtfw.core.source import Column, ColumnInfo, JaggedColumn
from evtfw.io.branches import column_of, type_of_form
from evtfw.io.columns import LazyColumns
from evtfw.io.files import one_line

_CORRUPT = "the file is probably corrupt: get a fresh copy, or set on_bad_file='skip'"


class TreeFile:
    """An open TTree; see `EventFile`.

    Columns are its branches: ``Jet_pt``; those of split objects with their path: ``jets/jets.pt``.
    """

    column_word = "branch"

    def __init__(self, path: str, directory: Any, tree: Any) -> None:
        self.path = path
        self.place = f"file '{path}', tree '{tree.name}'"
        self.entries = int(tree.num_entries)
        self._close = weakref.finalize(self, directory.close)
        self._tree = tree
        self._branches: dict[str, Any] = dict(_leaves(tree))
        self._counters: dict[str, str] = {}
        self.columns: Mapping[str, ColumnInfo] = LazyColumns(self._branches, self._describe)

    def _describe(self, name: str) -> ColumnInfo:
        branch = self._branches[name]
        title = str(branch.title)
        own = title.startswith((f"{branch.name}/", f"{branch.name}["))  # the leaf's declaration, not a text for readers
        try:
            kind = type_of_form(branch.interpretation.awkward_form(branch.file))
        except Exception:  # a class that uproot cannot read: told by `prepare`, if somebody wants it
            kind = object
        return ColumnInfo(kind, "" if own or title == branch.name else title)

    def prepare(self, names: Sequence[str]) -> NDArray[np.int64]:
        """See `EventFile.prepare`: the ends of clusters, and whether the tree's list of baskets makes sense."""
        seeks: list[NDArray[np.int64]] = []
        common: NDArray[np.int64] | None = None
        for name in names:
            if self.columns[name].type is object:
                kind = self._branches[name].typename
                raise InputError(f"{self.place}, branch '{name}': uproot cannot read its type, {kind}; do not use it")
            ends, begins = self._baskets(name)
            seeks.append(begins)
            if common is None:
                common = ends
            elif not np.array_equal(common, ends):
                common = np.intersect1d(common, ends)
            counter = self._branches[name].count_branch
            if counter is not None:
                self._counters[name] = counter.name
        places = np.sort(np.concatenate(seeks)) if seeks else np.empty(0, np.int64)
        if (places[1:] == places[:-1]).any():
            raise InputError(f"{self.place}: two baskets are said to lie at the same place in the file; {_CORRUPT}")
        return np.array([self.entries]) if common is None else common

    def _baskets(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the entries after each basket, and the places in the file of those baskets that have one."""
        branch = self._branches[name]
        if branch.num_entries != self.entries:
            raise InputError(
                f"{self.place}, branch '{name}': it has {branch.num_entries} entries, the tree {self.entries}; "
                "the file was not closed properly or is corrupt: get a fresh copy, or set on_bad_file='skip'"
            )
        ends = np.asarray(branch.entry_offsets, np.int64)
        count = branch.num_baskets - len(branch.embedded_baskets)
        begins = np.asarray(branch.member("fBasketSeek")[:count], np.int64)
        sizes = np.asarray(branch.member("fBasketBytes")[:count], np.int64)
        end_of_file = int(branch.file.fEND)
        wrong = (begins <= 0) | (sizes <= 0) | (begins + sizes > end_of_file)
        if wrong.any():
            bad = int(np.argmax(wrong))
            raise InputError(
                f"{self.place}, branch '{name}', entries {ends[bad]}-{ends[bad + 1] - 1}: basket {bad} lies at bytes "
                f"{begins[bad]}-{begins[bad] + sizes[bad]} of a file of {end_of_file}; {_CORRUPT}"
            )
        if ends[-1] != self.entries or (np.diff(ends) < 0).any():
            raise InputError(
                f"{self.place}, branch '{name}': its baskets do not add up to {self.entries} entries; {_CORRUPT}"
            )
        return ends[1:], begins

    def read(self, names: Sequence[str], first: int, last: int) -> dict[str, Column]:
        """See `EventFile.read`."""
        try:
            arrays = self._arrays(names, first, last)
            columns = {name: column_of(arrays[name]) for name in names}
        except MemoryError:
            raise
        except Exception as error:
            raise self._locate(names, first, last, error) from error
        self._check_counts(columns, first)
        return columns

    def _arrays(self, names: Sequence[str], first: int, last: int) -> dict[str, ak.Array]:
        arrays: dict[str, ak.Array] = self._tree.arrays(
            list(names), entry_start=first, entry_stop=last, library="ak", how=dict, array_cache=None
        )
        for name in names:
            if len(arrays[name]) != last - first:
                raise ValueError(f"branch '{name}' gave {len(arrays[name])} entries of {last - first}")
        return arrays

    def _locate(self, names: Sequence[str], first: int, last: int, error: Exception) -> InputError:
        """Read branch by branch and basket by basket to say where it fails."""
        for name in names:
            branch = self._branches[name]
            edges = np.asarray(branch.entry_offsets)
            for basket, (begin, end) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
                if begin >= last or end <= first:
                    continue
                try:
                    column_of(self._arrays([name], begin, end)[name])
                except Exception as cause:
                    places = branch.member("fBasketSeek")
                    offset = f" at byte {places[basket]}" if basket < len(places) else ""
                    return InputError(
                        f"{self.place}, branch '{name}', entries {begin}-{end - 1}: basket {basket}{offset} cannot be "
                        f"decoded ({one_line(cause)}); {_CORRUPT}"
                    )
        return InputError(f"{self.place}, entries {first}-{last - 1}: cannot be read ({one_line(error)}); {_CORRUPT}")

    def _check_counts(self, columns: dict[str, Column], first: int) -> None:
        """Compare the lengths of the lists of one collection: all follow the same counter branch."""
        collections: dict[str, tuple[str, NDArray[Any]]] = {}
        for name, column in columns.items():
            counter = self._counters.get(name)
            if counter is None or not isinstance(column, JaggedColumn):
                continue
            lengths = np.diff(column.offsets)
            other, expected = collections.setdefault(counter, (name, lengths))
            if lengths is not expected and not np.array_equal(lengths, expected):
                row = int(np.argmax(lengths != expected))
                raise InputError(
                    f"{self.place}, entry {first + row}: branch '{name}' has {lengths[row]} values, but '{other}' of "
                    f"the same collection has {expected[row]}; {_CORRUPT}"
                )

    def close(self) -> None:
        """See `EventFile.close`."""
        self._close()


def _leaves(parent: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the branches without branches of their own, with their paths."""
    found: list[tuple[str, Any]] = []
    for branch in parent.branches:
        name = f"{prefix}{branch.name}"
        found += _leaves(branch, f"{name}/") if branch.branches else [(name, branch)]
    return found
