"""Input files for the tests of sources: the same events as TTree, RNTuple and Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

from evtfw.core.source import Chunk, Source

FORMATS = ("ttree", "rntuple", "parquet")
SUFFIX = {"ttree": "root", "rntuple": "root", "parquet": "parquet"}


def make_events(count: int, seed: int = 1, first_event: int = 1) -> dict[str, Any]:
    """Columns of every kind that a format may hold."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 4, count)
    values = int(lengths.sum())
    return {
        "run": np.full(count, 7, np.uint32),
        "luminosityBlock": 1 + np.arange(count, dtype=np.uint32) // 10,
        "event": np.arange(first_event, first_event + count, dtype=np.uint64),
        "MET_pt": random.random(count, np.float32),
        "passed": random.random(count) > 0.5,
        "vertex": random.random((count, 3)),
        "Jet_pt": ak.unflatten(random.random(values, np.float32), lengths),
        "Jet_id": ak.unflatten(random.integers(-9, 9, values, np.int32), lengths),
        "Jet_good": ak.unflatten(random.random(values) > 0.5, lengths),
        "era": ak.Array([f"2018{'ABCD'[i % 4] * (i % 3)}" for i in range(count + 1)])[:count],
    }


def slice_events(events: Mapping[str, Any], first: int, last: int) -> dict[str, Any]:
    """Some of the events."""
    return {name: values[first:last] for name, values in events.items()}


def write_events(path: Path, events: Mapping[str, Any], kind: str = "ttree", block: int = 100, **options: Any) -> Path:
    """Write a file in units (clusters, row groups) of ``block`` events."""
    count = len(next(iter(events.values())))
    blocks = [slice_events(events, i, min(i + block, count)) for i in range(0, max(count, 1), block)]
    if kind == "parquet":
        _write_parquet(path, events, block)
        return path
    with uproot.recreate(path, **{"compression": uproot.ZLIB(1), **options}) as file:
        if kind == "ttree":
            types = {
                n: v.type.content if isinstance(v, ak.Array) else (v.dtype, v.shape[1:]) for n, v in events.items()
            }
            file.mktree("Events", types, counter_name=lambda name: f"n{name}")
        else:
            file.mkrntuple("Events", {n: ak.from_numpy(v, regulararray=True) if isinstance(v, np.ndarray) else v
                                      for n, v in blocks.pop(0).items()})  # fmt: skip
        for part in blocks if count else []:
            file["Events"].extend(part)
    return path


def _write_parquet(path: Path, events: Mapping[str, Any], block: int) -> None:
    columns = {}
    for name, values in events.items():
        if isinstance(values, ak.Array):
            columns[name] = ak.to_arrow(values, extensionarray=False)
        elif values.ndim == 2:
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        else:
            columns[name] = pa.array(values)
    pq.write_table(pa.table(columns), path, row_group_size=block, write_page_checksum=True)


def read_all(source: Source, columns: Sequence[str], first: int = 0, count: int | None = None) -> list[Chunk]:
    """Open and read, as a job does."""
    offered = source.columns()
    assert set(columns) <= set(offered)
    return list(source.chunks(columns, first, count))


def values_of(chunks: Sequence[Chunk], name: str) -> list[Any]:
    """One Python value per event."""
    rows = (chunk.columns[name][row] for chunk in chunks for row in range(len(chunk)))
    return [row.tolist() if hasattr(row, "tolist") else row for row in rows]


def ids_of(chunks: Sequence[Chunk]) -> list[tuple[int, int, int]]:
    """Run, luminosity block and number of every event."""
    return [tuple(chunk.event_id(row)) for chunk in chunks for row in range(len(chunk))]


def event_numbers(chunks: Sequence[Chunk]) -> list[int]:
    """Number of every event."""
    return [int(number) for chunk in chunks for number in chunk.events]


def make_source(kind: str, files: Path | Sequence[Path], **parameters: Any) -> Source:
    """The source that reads this format."""
    from evtfw.io.parquet_source import ParquetSource
    from evtfw.io.root_source import RootSource

    names = [str(files)] if isinstance(files, Path) else [str(file) for file in files]
    return (ParquetSource if kind == "parquet" else RootSource)(files=names, **parameters)
