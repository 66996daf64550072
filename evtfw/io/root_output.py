"""Events to a ROOT file, as TTree or RNTuple."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from evtfw.core.declare import Parameter
from evtfw.core.errors import OutputError
from evtfw.io.batches import BatchedOutput, TableFile
from evtfw.io.compression import Compressions
from evtfw.io.output_columns import Block
from evtfw.io.output_schema import Column

COMPRESSIONS = Compressions({"zlib": (1, 1, 9), "lzma": (1, 1, 9), "lz4": (1, 4, 12), "zstd": (1, 5, 22), "none": None})


class RootOutput(BatchedOutput):
    """Writes events to a ROOT file, as TTree or RNTuple.

    In a TTree, a column ``x`` of n values per event has its count in a branch ``nx``, as in NanoAOD. Columns of one
    collection share it: the arrays of one product (``jets_pt``, ``jets_eta``: ``njets``) and the source's columns with
    one prefix (``FatJet_pt``, ``FatJet_eta``: ``nFatJet``), if their numbers of values agree in the first batch. Should
    they differ later, that is an error, and ``counters="own"`` the way out.

    TTree has no place for arrays of arrays here: a product of shape [n, k] becomes n·k values per event, one row after
    another, and the metadata has its ``inner_shape``. RNTuple keeps the shape.

    A TTree of 1800 branches takes about 10 s to begin (uproot 5.7 needs a time quadratic in their number), an RNTuple
    0.5 s.

    The object ``evtfw_metadata`` (a TObjString of JSON) has the version, the paths, and origin, description and unit of
    all columns.

    zlib and lzma carry a checksum of their own, so a flipped bit in the file's data is noticed when it is read; with
    lz4, zstd and none it may not be: set ``checksum=True`` there.
    """

    tree = Parameter[str]("name of the TTree or RNTuple", default="Events")
    format = Parameter[Literal["ttree", "rntuple"]]("what to write", default="ttree")
    compression = Parameter[Annotated[str, AfterValidator(COMPRESSIONS)]](
        "zlib, lzma, lz4 or zstd, with a level if wanted, such as 'zlib:1'; or none", default="zlib:1"
    )
    counters = Parameter[Literal["shared", "own"]](
        "TTree only: whether the columns of a collection share a counter branch", default="shared"
    )

    def make_file(self, part: Path) -> TableFile:
        """Return the writer of a TTree or RNTuple."""
        name, level = COMPRESSIONS.split(self.compression)
        kind = _TreeFile if self.format == "ttree" else _NTupleFile
        return kind(part, self.tree, name, level, share_counters=self.counters == "shared")


class _RootFile:
    """What both formats have in common."""

    def __init__(self, part: Path, tree: str, compression: str, level: int | None, *, share_counters: bool) -> None:
        self.part = part
        self.tree = tree
        self.compression = (compression, level)
        self.share_counters = share_counters
        self._schema: tuple[Column, ...] = ()
        self._root: Any = None
        self._table: Any = None

    def create(self, schema: tuple[Column, ...]) -> None:
        """Open the file; the table is made with the first batch."""
        import uproot

        name, level = self.compression
        compression = None if level is None else getattr(uproot, name.upper())(level)
        self._root = uproot.recreate(self.part, compression=compression)
        self._schema = schema

    def close(self, metadata: str) -> None:
        """Complete the file."""
        if self._table is None:
            self.append({column.name: _nothing(column) for column in self._schema})
        self._root["evtfw_metadata"] = metadata
        self._root.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(Exception):
            self._root.close()

    def append(self, blocks: dict[str, Block]) -> None:
        """Write a batch of events."""
        raise NotImplementedError


class _TreeFile(_RootFile):
    """A TTree, one basket per branch and batch."""

    def append(self, blocks: dict[str, Block]) -> None:
        """Write a batch of events."""
        flat = {column.name: _flattened(blocks[column.name], column) for column in self._schema}
        if self._table is None:
            self._counters = choose_counters(self._schema, flat, share=self.share_counters)
            # A column that is itself the count of others becomes their counter branch, which uproot fills.
            self._branches = [column for column in self._schema if column.name not in self._counters.values()]
            types = {column.name: _branch_type(column) for column in self._branches}
            self._table = self._root.mktree(self.tree, types, title=self.tree, counter_name=self._counters.__getitem__)
        self._check_counters(flat)
        if len(flat["event"].values):
            self._table.extend({column.name: _array(flat[column.name], column) for column in self._branches})

    def _check_counters(self, blocks: dict[str, Block]) -> None:
        """Raise `OutputError` unless columns with one counter agree: uproot would write the last one's."""
        leaders = {counter: counter for counter in self._counters.values() if counter in blocks}
        for name, counter in self._counters.items():
            leader = leaders.setdefault(counter, name)
            differs = np.flatnonzero(_counts(blocks[leader]) != blocks[name].counts)
            if len(differs):
                event = ":".join(
                    str(blocks[column].values[differs[0]]) for column in ("run", "luminosityBlock", "event")
                )
                raise OutputError(
                    f"columns '{leader}' and '{name}' share the counter branch '{counter}', but in event {event} "
                    "they have different numbers of values; set counters='own'"
                )


class _NTupleFile(_RootFile):
    """An RNTuple, one cluster per batch."""

    def append(self, blocks: dict[str, Block]) -> None:
        """Write a batch of events."""
        import awkward as ak

        arrays = [ak.to_layout(_array(blocks[column.name], column)) for column in self._schema]
        record = ak.Array(ak.contents.RecordArray(arrays, [column.name for column in self._schema]))
        if self._table is None:
            self._table = self._root.mkrntuple(self.tree, record.layout.form)
        if len(record):
            self._table.extend(record)


def choose_counters(schema: Iterable[Column], blocks: Mapping[str, Block], *, share: bool) -> dict[str, str]:
    """Name the counter branch of each jagged column of a TTree.

    Args:
        schema: all columns.
        blocks: the first batch, arrays of arrays flattened.
        share: let columns of one collection have one counter where their counts agree.

    Returns:
        Counter by column. It is the name of an integer column (such as the source's ``nFatJet``) where that has the
        counts.
    """
    counters: dict[str, str] = {}
    known: dict[str, tuple[str, NDArray[Any]]] = {}
    for column in schema:
        if column.type.kind != "jagged":
            continue
        module, counts = column.product.partition(":")[0], _counts(blocks[column.name])
        own = (f"n{column.name}{'_' * i}" for i in itertools.count())
        shared = [f"n{column.collection}"] if share and column.collection and not column.type.inner else []
        for counter in itertools.chain(shared, own):
            if counter in known:
                usable = counter in shared and known[counter][0] == module and np.array_equal(known[counter][1], counts)
            else:
                usable = counter not in blocks or (share and _is_count(blocks[counter], counts))
            if usable:
                break
        known.setdefault(counter, (module, counts))
        counters[column.name] = counter
    return counters


def _is_count(block: Block, counts: NDArray[Any]) -> bool:
    return block.counts is None and block.values.dtype.kind in "iu" and np.array_equal(block.values, counts)


def _counts(block: Block) -> NDArray[Any]:
    return block.values if block.counts is None else block.counts


def _branch_type(column: Column) -> Any:
    """As objects: parsing a type from a string takes Awkward milliseconds, and files have 2000 columns."""
    from awkward.types import ListType, NumpyType

    if column.type.kind == "text":
        return ListType(NumpyType("uint8", parameters={"__array__": "char"}), parameters={"__array__": "string"})
    return column.type.dtype if column.type.kind == "scalar" else ListType(NumpyType(str(column.type.dtype)))


def _flattened(block: Block, column: Column) -> Block:
    """Arrays of arrays as longer arrays: uproot 5.7 writes wrong offsets for jagged branches with an inner shape."""
    if block.counts is None or not column.type.inner:
        return block
    return Block(block.counts * math.prod(column.type.inner), block.values.reshape(-1))


def _array(block: Block, column: Column) -> Any:
    """The block as NumPy or Awkward array, without a copy."""
    if block.counts is None:
        return block.values
    import awkward as ak

    text = column.type.kind == "text"
    content = ak.contents.NumpyArray(block.values, parameters={"__array__": "char"} if text else None)
    offsets = ak.index.Index64(block.offsets)
    return ak.Array(ak.contents.ListOffsetArray(offsets, content, parameters={"__array__": "string"} if text else None))


def _nothing(column: Column) -> Block:
    """The column of no events."""
    counts = None if column.type.kind == "scalar" else np.empty(0, np.int64)
    return Block(counts, np.empty((0, *column.type.inner), column.type.dtype))
