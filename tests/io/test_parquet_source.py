"""What is ParquetSource's own: row groups, nulls, nesting, and the missing extra."""

from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from evtfw.core.errors import InputError
from evtfw.io.parquet_source import ParquetSource
from tests.io.source_inputs import event_numbers, make_events, make_source, read_all, values_of, write_events


def test_chunks_smaller_than_a_row_group_decode_it_once(tmp_path, monkeypatch):
    file = write_events(tmp_path / "a.parquet", make_events(60), "parquet", block=30)
    decoded = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, i, **kw: decoded.append(i) or read(self, i, **kw)
    )
    chunks = read_all(make_source("parquet", file, chunk_events=4), ["MET_pt"])
    assert event_numbers(chunks) == list(range(1, 61))
    assert len(chunks) > 4
    assert decoded == [0, 1]


def test_nested_columns_come_as_awkward_arrays(tmp_path):
    hits = [[[1.0], []], [], [[2.0, 3.0]]]
    points = [{"x": 1}, {"x": 2}, {"x": 3}]
    pq.write_table(pa.table({"hits": hits, "point": points}), tmp_path / "a.parquet")
    chunks = read_all(ParquetSource(files=tmp_path / "a.parquet"), ["hits", "point"])
    assert values_of(chunks, "hits") == hits
    assert values_of(chunks, "point") == points


def test_lists_of_fixed_size_lists_are_arrays_with_a_shape(tmp_path):
    points = [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]]]
    kind = pa.list_(pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"points": pa.array(points, kind)}), tmp_path / "a.parquet")
    source = ParquetSource(files=tmp_path / "a.parquet")
    assert source.columns()["points"].type == NDArray[np.float32]
    chunks = read_all(source, ["points"])
    assert [chunks[0].columns["points"][row].shape for row in range(3)] == [(2, 2), (0, 2), (1, 2)]
    assert values_of(chunks, "points") == points


@pytest.mark.parametrize("values", [[1, None], [[1], None], [[1], [None]], ["a", None]])
def test_nulls_are_refused(tmp_path, values):
    pq.write_table(pa.table({"x": values}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"column 'x', rows 0-1: 1 of its values are null"):
        read_all(ParquetSource(files=tmp_path / "a.parquet"), ["x"])


def test_field_metadata_is_the_doc(tmp_path):
    schema = pa.schema([pa.field("pt", pa.float32(), metadata={"doc": "transverse momentum"})])
    pq.write_table(pa.table({"pt": [1.0]}, schema=schema), tmp_path / "a.parquet")
    assert ParquetSource(files=tmp_path / "a.parquet").columns()["pt"].doc == "transverse momentum"


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    file = write_events(tmp_path / "a.parquet", make_events(1), "parquet")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pyarrow" else find(name, *a))
    with pytest.raises(InputError, match=r"pip install 'evtfw\[parquet\]'"):
        make_source("parquet", file).columns()
