import json

import awkward as ak
import numpy as np
import pytest

from evtfw.io.parquet_output import ParquetOutput
from tests.io.fake_events import FakeJets, jagged, running, write_all

parquet = pytest.importorskip("pyarrow.parquet")


def test_what_is_written_is_what_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    source = {"Jet_pt": jagged([[1, 2], [], [3]] * 4), "MET": np.arange(12, dtype=np.float32)}
    output = running(ParquetOutput, path, ["jets:jets", "t:text", "i:images", "b:flags"], list(source), batch_events=5)
    images = [np.arange(6 * (i % 3), dtype=np.float32).reshape(-1, 3, 2) for i in range(12)]
    products = [[FakeJets.make(i, i % 4), "é" * i, images[i], np.arange(i) % 2 == 0] for i in range(12)]
    write_all(output, products, source=source)
    events = ak.from_parquet(path)
    assert events["event"].to_list() == list(range(12))
    assert events["path_tag"].to_list() == [True] * 12
    assert events["jets_eta"].to_list() == [FakeJets.make(i, i % 4).eta.tolist() for i in range(12)]
    assert events["t_text"].to_list() == ["é" * i for i in range(12)]
    assert events["i_images"].to_list() == [image.tolist() for image in images]
    assert events["b_flags"].to_list() == [(np.arange(i) % 2 == 0).tolist() for i in range(12)]
    assert events["Jet_pt"].to_list() == [[1, 2], [], [3]] * 4
    assert events["MET"].to_list() == list(range(12))
    assert str(events["jets_index"].type) == "12 * var * int32"  # no option type: nothing is nullable


def test_a_batch_is_a_row_group_and_the_metadata_is_there(tmp_path):
    path = tmp_path / "a.parquet"
    write_all(running(ParquetOutput, path, ["jets:jets"], batch_events=2), [[FakeJets.make(i, 1)] for i in range(5)])
    file = parquet.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 1]
    about = json.loads(file.metadata.metadata[b"evtfw"])
    assert about["columns"]["jets_pt_gev"]["product"] == "jets:jets.pt_gev"
    assert file.schema_arrow.field("jets_pt_gev").metadata[b"unit"] == b"GeV"


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    random = np.random.default_rng(1)
    write_all(running(ParquetOutput, path, ["x:v"], compression="none"), [[random.random(20)] for _ in range(100)])
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 4
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"(?i)crc"):
        parquet.ParquetFile(path, page_checksum_verification=True).read()


@pytest.mark.parametrize("compression", ["zstd:3", "gzip", "brotli:2", "snappy", "lz4", "none"])
def test_compressions(tmp_path, compression):
    path = tmp_path / "a.parquet"
    write_all(running(ParquetOutput, path, ["x:v"], compression=compression), [[np.zeros(9)] for _ in range(50)])
    assert ak.sum(ak.num(ak.from_parquet(path)["x_v"])) == 450


def test_without_events_there_is_still_a_table(tmp_path):
    path = tmp_path / "a.parquet"
    write_all(running(ParquetOutput, path, ["jets:jets"], types={"jets:jets": FakeJets}), [])
    assert parquet.read_table(path).num_rows == 0
