import dataclasses
import json
import resource
import subprocess
import sys
from typing import NamedTuple

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from evtfw.core.errors import OutputError
from evtfw.io.root_output import RootOutput
from tests.io.fake_events import FakeJets, absent, chunk_of, event_of, jagged, running, write_all

FORMATS = pytest.mark.parametrize("kind", ["ttree", "rntuple"])


def read(path, tree="Events"):
    with uproot.open(path) as file:
        return file[tree].arrays()


def metadata(path):
    with uproot.open(path) as file:
        return json.loads(str(file["evtfw_metadata"]))


arrays = st.sampled_from(
    [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]
).flatmap(
    lambda dtype: st.lists(
        st.lists(st.integers(0, 100), max_size=4).map(lambda values: np.array(values, dtype)), min_size=1, max_size=12
    )
)


@FORMATS
@settings(deadline=None, max_examples=25)
@given(jagged_values=arrays, text=st.text(max_size=300), number=st.floats(width=32), batch_events=st.integers(1, 12))
def test_what_is_written_is_what_is_read(tmp_path_factory, kind, *, jagged_values, text, number, batch_events):
    path = tmp_path_factory.mktemp("out") / "a.root"
    text = text.replace("\0", "")
    output = running(
        RootOutput, path, ["a:v", "b:pairs", "c:text", "d:score", "e:n"], format=kind, batch_events=batch_events
    )
    values = [
        [array, np.arange(2 * (i % 3), dtype=np.float32).reshape(-1, 2), text, np.float32(number), i]
        for i, array in enumerate(jagged_values)
    ]
    write_all(output, values)
    events = read(path)
    assert events["a_v"].to_list() == [array.tolist() for array in jagged_values]
    flat = ak.flatten(events["b_pairs"], axis=None) if kind == "rntuple" else ak.flatten(events["b_pairs"])
    assert flat.to_list() == np.concatenate([v[1].reshape(-1) for v in values]).tolist()
    assert events["c_text"].to_list() == [text] * len(values)
    np.testing.assert_array_equal(events["d_score"].to_numpy(), np.full(len(values), number, np.float32))
    assert events["d_score"].to_numpy().dtype == np.float32
    assert events["e_n"].to_list() == list(range(len(values)))


@FORMATS
def test_ids_paths_products_and_columns_of_the_source_are_there(tmp_path, kind):
    path = tmp_path / "a.root"
    source = {
        "FatJet_pt": jagged([[1, 2], [], [3]]),
        "FatJet_eta": jagged([[4, 5], [], [6]]),
        "nFatJet": np.array([2, 0, 1], np.uint32),
        "MET_pt": np.array([7, 8, 9], np.float32),
    }
    output = running(RootOutput, path, ["jets:jets", "toptag:scores"], list(source), format=kind)
    products = [[FakeJets.make(i, i), np.full(i, 0.5, np.float32)] for i in range(3)]
    write_all(output, products, accepted=[True, False, True], source=source)
    events = read(path)
    assert events["run"].to_list() == [1, 1, 1]
    assert events["event"].to_numpy().dtype == np.uint64
    assert events["path_tag"].to_list() == [True, False, True]
    assert events["jets_pt_gev"].to_list() == [FakeJets.make(i, i).pt_gev.tolist() for i in range(3)]
    assert events["toptag_scores"].to_list() == [[], [0.5], [0.5, 0.5]]
    assert events["FatJet_eta"].to_list() == [[4, 5], [], [6]]
    assert events["nFatJet"].to_list() == [2, 0, 1]
    assert events["MET_pt"].to_list() == [7, 8, 9]


def test_a_collection_has_one_counter_as_in_nanoaod(tmp_path):
    path = tmp_path / "a.root"
    source = {"FatJet_pt": jagged([[1, 2], []]), "FatJet_eta": jagged([[4, 5], []]), "FatJet_hits": jagged([[1], [2]])}
    write_all(
        running(RootOutput, path, ["jets:jets"], list(source)), [[FakeJets.make(i, i)] for i in range(2)], source=source
    )
    with uproot.open(path) as file:
        tree = file["Events"]
        counts = [branch.name for branch in tree.branches if branch.name.startswith("n")]
        assert counts == ["njets", "nFatJet", "nFatJet_hits"]
        assert tree["FatJet_eta"].count_branch.name == "nFatJet"
        assert tree["nFatJet_hits"].array().to_list() == [1, 1]


def test_counts_that_differ_later_are_an_error_and_own_counters_are_the_way_out(tmp_path):
    path = tmp_path / "a.root"
    lists = {"Jet_pt": jagged([[1], [1, 2]]), "Jet_hits": jagged([[3], [4]])}
    with pytest.raises(OutputError, match=r"'Jet_pt' and 'Jet_hits' share.*'nJet'.*event 1:1:1.*counters='own'"):
        write_all(running(RootOutput, path, [], list(lists), batch_events=1), [[], []], source=lists)
    assert list(tmp_path.iterdir()) == []
    write_all(running(RootOutput, path, [], list(lists), batch_events=1, counters="own"), [[], []], source=lists)
    assert read(path)["Jet_hits"].to_list() == [[3], [4]]
    assert read(path)["nJet_pt"].to_list() == [1, 2]


def test_a_column_named_like_a_counter_is_kept_if_it_is_something_else(tmp_path):
    path = tmp_path / "a.root"
    source = {"Jet_pt": jagged([[1], [1, 2]]), "nJet": np.array([7, 7], np.int32), "nJet_pt": np.array([0.5, 0.5])}
    write_all(running(RootOutput, path, [], list(source)), [[], []], source=source)
    events = read(path)
    assert events["nJet"].to_list() == [7, 7]
    assert events["nJet_pt"].to_list() == [0.5, 0.5]
    assert events["nJet_pt_"].to_list() == [1, 2]
    assert events["Jet_pt"].to_list() == [[1], [1, 2]]


class Pair(NamedTuple):
    one: float
    many: np.ndarray


@dataclasses.dataclass
class Vertex:
    z_cm: float


@FORMATS
def test_fields_of_tuples_and_dicts_are_columns(tmp_path, kind):
    path = tmp_path / "a.root"
    products = [[Pair(1.5, np.arange(2)), {"x": np.ones(1), "y": 2}, Vertex(0.5), Vertex(-0.5)]] * 2
    write_all(running(RootOutput, path, ["p:p", "q:d", "v:a", "v:b"], format=kind), products)
    events = read(path)
    assert events["p_one"].to_list() == [1.5, 1.5]
    assert events["p_many"].to_list() == [[0, 1], [0, 1]]
    assert events["q_x"].to_list() == [[1.0], [1.0]]
    assert events["q_y"].to_list() == [2, 2]
    assert events["v_a_z_cm"].to_list() == [0.5, 0.5]
    assert events["v_b_z_cm"].to_list() == [-0.5, -0.5]


def test_a_dict_with_other_keys_is_an_error(tmp_path):
    with pytest.raises(OutputError, match=r"q:d.*event 1:1:1.*fields x, y.*dict with x"):
        write_all(running(RootOutput, tmp_path / "a.root", ["q:d"]), [[{"x": 1}], [{"x": 1, "y": 2}]])


def test_the_metadata_tells_where_columns_come_from(tmp_path):
    path = tmp_path / "a.root"
    write_all(running(RootOutput, path, ["jets:jets", "i:images"]), [[FakeJets.make(1, 2), np.zeros((1, 8, 8, 1))]])
    about = metadata(path)
    assert about["created_by"].startswith("evtfw ")
    assert about["events"] == 1
    assert about["paths"] == ["tag"]
    assert about["columns"]["jets_eta"]["product"] == "jets:jets.eta"
    assert about["columns"]["jets_eta"]["unit"] == "GeV"
    assert about["columns"]["i_images"]["inner_shape"] == [8, 8, 1]
    assert len(read(path)["i_images"][0]) == 64


def test_rntuple_keeps_the_shape_of_arrays_of_arrays(tmp_path):
    path = tmp_path / "a.root"
    image = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    write_all(running(RootOutput, path, ["i:images"], format="rntuple"), [[image], [image[:1]]])
    assert read(path)["i_images"].to_list() == [image.tolist(), image[:1].tolist()]


@FORMATS
@pytest.mark.parametrize("compression", ["zlib:1", "lzma:1", "lz4:4", "zstd:5", "none"])
def test_compressions(tmp_path, compression, kind):
    path = tmp_path / "a.root"
    output = running(RootOutput, path, ["x:v"], compression=compression, format=kind)
    write_all(output, [[np.zeros(1000, np.float32)] for _ in range(50)])
    assert ak.sum(ak.num(read(path)["x_v"])) == 50_000
    assert (path.stat().st_size < 100_000) == (compression != "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [("zlip", "did you mean 'zlib'"), ("zlib:10", "from 1 to 9"), ("none:1", "no levels"), ("lz4:x", "from 1 to 12")],
)
def test_a_compression_that_is_not_known_is_a_mistake_of_the_configuration(text, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(RootOutput.declarations["compression"].type).validate_python(text)


@FORMATS
def test_without_events_there_is_still_a_tree(tmp_path, kind):
    path = tmp_path / "a.root"
    types = {"jets:jets": FakeJets, "x:v": np.typing.NDArray[np.float32], "x:s": str}
    write_all(running(RootOutput, path, ["jets:jets", "x:v", "x:s"], types=types, format=kind), [])
    with uproot.open(path) as file:
        assert file["Events"].num_entries == 0
        assert {"run", "luminosityBlock", "event", "x_v", "x_s"} <= set(file["Events"].keys())
        assert len(file["Events"].arrays()) == 0


@FORMATS
def test_a_part_of_a_failed_job_can_be_read(tmp_path, kind):
    path = tmp_path / "a.root"
    output = running(RootOutput, path, ["x:n"], batch_events=2, format=kind)
    write_all(output, [[i] for i in range(5)], end=False)
    output.job_failed = True
    output.end_job()
    assert not path.exists()
    assert read(tmp_path / "a.root.part")["x_n"].to_list() == [0, 1, 2, 3, 4]


FULL = """
import resource, signal, sys
import numpy as np
from evtfw.core.errors import OutputError
from evtfw.io.root_output import RootOutput
from tests.io.fake_events import running, write_all
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
random = np.random.default_rng(1)
try:
    write_all(running(RootOutput, sys.argv[1], ["x:v"], batch_events=100, format=sys.argv[2]),
              [[random.random(50)] for _ in range(5000)])
except OutputError as error:
    sys.exit(str(error))
"""


@FORMATS
def test_when_the_system_refuses_to_write_no_file_is_left(tmp_path, kind):
    command = [sys.executable, "-c", FULL, str(tmp_path / "a.root"), kind]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "EFBIG" in done.stderr
    assert "ulimit" in done.stderr
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
import numpy as np
from evtfw.io.root_output import RootOutput
from tests.io.fake_events import chunk_of, event_of, running
output = running(RootOutput, sys.argv[1], ["x:v"], batch_events=10)
chunk = chunk_of(1)
output.begin_job()
for i in range(1000):
    output.write(event_of(i, chunk, 0, [np.zeros(10)]))
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_leaves_no_final_name(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a.root")]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    assert all(path.suffix == ".part" for path in tmp_path.iterdir())


def test_memory_does_not_grow_with_the_events(tmp_path):
    def write(events, name):
        output = running(RootOutput, tmp_path / name, ["x:v"], ["pt"], batch_events=500)
        output.begin_job()
        for first in range(0, events, 1000):
            chunk = chunk_of(1000, {"pt": jagged([[1.0] * 50] * 1000)}, first)
            for row in range(1000):
                output.write(event_of(first + row, chunk, row, [np.full(50, 1.0)]))
        output.end_job()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = write(10_000, "a.root")
    assert write(40_000, "b.root") - before < 30_000  # kB; the events alone are 24 MB


def test_absent_scalars_are_flagged_on_demand(tmp_path):
    path = tmp_path / "a.root"
    write_all(running(RootOutput, path, ["x:n", "x:v"], flag_absent=True), [[absent(), np.ones(1)], [4, absent()]])
    events = read(path)
    assert events["x_n"].to_list() == [0, 4]
    assert events["x_n_present"].to_list() == [False, True]
    assert events["x_v_present"].to_list() == [True, False]
