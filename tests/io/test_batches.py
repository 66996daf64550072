"""What all table outputs have in common, seen through a format that stays in memory."""

import errno
import logging
import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.errors import ConfigurationError, OutputError
from evtfw.core.module import TriggerResults
from evtfw.io.batches import BatchedOutput
from evtfw.io.output_columns import joined
from tests.io.fake_events import FakeJets, absent, chunk_of, event_of, jagged, running, write_all


class MemoryFile:
    """Keeps batches; fails when told to."""

    def __init__(self, part, output):
        self.part, self.output, self.batches, self.schema, self.metadata = part, output, [], None, None

    def create(self, schema):
        self.schema = schema

    def append(self, blocks):
        self.output.before_append()
        self.batches.append(blocks)
        self.part.write_bytes(b"x" * len(self.batches))

    def close(self, metadata):
        self.metadata = metadata

    def abandon(self):
        pass

    def column(self, name):
        blocks = joined([batch[name] for batch in self.batches])
        if blocks.counts is None:
            return blocks.values.tolist()
        return [part.tolist() for part in np.split(blocks.values, np.cumsum(blocks.counts)[:-1])]


class MemoryOutput(BatchedOutput):
    def make_file(self, part):
        self.memory = MemoryFile(part, self)
        return self.memory

    def before_append(self):
        pass


@settings(deadline=None)
@given(
    accepted=st.lists(st.booleans(), max_size=80),
    seed=st.integers(0, 2**32),
    threads=st.integers(1, 4),
    batch_events=st.integers(1, 30),
)
def test_kept_events_are_written_once_each_in_order_of_input(tmp_path_factory, accepted, seed, threads, batch_events):
    path = tmp_path_factory.mktemp("out") / "a.bin"
    output = running(MemoryOutput, path, ["jets:jets", "x:n"], ["pt"], select=("tag",), batch_events=batch_events)
    lists = [[i + k / 10 for k in range(i % 4)] for i in range(len(accepted))]
    chunk = chunk_of(len(accepted), {"pt": jagged(lists)})
    order = list(range(len(accepted)))
    random.Random(seed).shuffle(order)
    output.begin_job()

    def work(start):
        for i in order[start::threads]:
            products = [FakeJets.make(i, i % 3), i]
            event = event_of(i, chunk, i, products, (accepted[i],))
            if i % 5 == 4:
                output.skip(event)
            else:
                assert output.write(event) == accepted[i]

    workers = [threading.Thread(target=work, args=(start,)) for start in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    output.end_job()

    kept = [i for i, is_accepted in enumerate(accepted) if is_accepted and i % 5 != 4]
    assert output.written == len(kept)
    assert sum(len(batch["event"].values) for batch in output.memory.batches) == len(kept)
    assert all(len(batch["event"].values) <= batch_events for batch in output.memory.batches)
    if kept:
        memory = output.memory
        assert memory.column("event") == kept
        assert memory.column("x_n") == kept
        assert memory.column("jets_pt_gev") == [FakeJets.make(i, i % 3).pt_gev.tolist() for i in kept]
        assert memory.column("pt") == [np.float32(lists[i]).tolist() for i in kept]
        assert memory.column("path_tag") == [True] * len(kept)


def test_any_order_writes_events_as_they_come(tmp_path):
    order = [3, 0, 2, 1]
    output = write_all(
        running(MemoryOutput, tmp_path / "a", ["x:n"], order="any"), [[i] for i in range(4)], order=order
    )
    assert output.memory.column("x_n") == order


def test_batches_end_at_their_size_in_bytes(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", ["x:v"], batch_bytes=10_000)
    write_all(output, [[np.zeros(100)] for _ in range(2000)])
    sizes = [sum(block.size_bytes for block in batch.values()) for batch in output.memory.batches]
    assert len(sizes) > 5
    assert output.written == 2000


def test_a_view_of_a_chunk_is_copied_and_the_chunk_can_go(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", ["x:v"], ["pt"])
    chunk = chunk_of(3, {"pt": jagged([[1], [2, 3], []])})
    output.begin_job()
    for i in range(3):
        output.write(event_of(i, chunk, i, [chunk.columns["pt"][i]]))
    output.end_job()
    content = chunk.columns["pt"].content
    for name in ("pt", "x_v"):
        assert output.memory.column(name) == [[1.0], [2.0, 3.0], []]
        assert not any(np.shares_memory(batch[name].values, content) for batch in output.memory.batches)


def test_only_events_of_the_selected_paths_are_kept(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", select=("~veto", "tag"))
    chunk = chunk_of(4)
    output.begin_job()
    names = ("veto", "tag")
    for i, accepted in enumerate([(True, False), (False, False), (True, True)]):
        output.write(event_of(i, chunk, i, [], accepted, names=names))
    failed = event_of(3, chunk, 3)
    failed[0] = TriggerResults(names, (False, False), (True, False))
    assert not output.write(failed)
    output.end_job()
    assert output.memory.column("event") == [1, 2]
    assert output.memory.column("path_veto") == [False, True]


def test_a_selection_by_an_unknown_path_names_the_near_ones(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", select=("tagg",))
    output.begin_job()
    with pytest.raises(ConfigurationError, match=r"'tagg'.*did you mean 'tag'"):
        output.write(event_of(0, chunk_of(1), 0))
    output.job_failed = True
    output.end_job()


def test_a_job_that_failed_leaves_a_part_and_no_final_name(tmp_path, caplog):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    output = write_all(running(MemoryOutput, path, ["x:n"]), [[1], [2]], end=False)
    output.job_failed = True
    output.end_job()
    assert path.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.bin.part"]
    assert output.final_path == tmp_path / "a.bin.part"
    assert "2 events" in caplog.text


class FullDisk(MemoryOutput):
    def before_append(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_job_with_what_to_do(tmp_path):
    output = running(FullDisk, tmp_path / "a.bin", ["x:n"], batch_events=1)
    chunk = chunk_of(1)
    output.begin_job()

    def write_on():  # the writer is another thread: a later write learns of it
        for i in range(10_000_000):
            output.write(event_of(i, chunk, 0, [i]))

    with pytest.raises(OutputError, match=r"out.*a\.bin.*ENOSPC.*free space.*was not written"):
        write_on()
    output.skip(event_of(10_000_001, chunk, 0, [0]))
    with pytest.raises(OutputError, match=r"ENOSPC"):
        output.end_job()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_last_batch_is_told_at_the_end(tmp_path):
    output = write_all(running(FullDisk, tmp_path / "a.bin", ["x:n"]), [[1]], end=False)
    with pytest.raises(OutputError, match=r"ENOSPC"):
        output.end_job()
    assert list(tmp_path.iterdir()) == []


class SlowDisk(MemoryOutput):
    def begin_job(self):
        self.goes_on = threading.Event()
        super().begin_job()

    def before_append(self):
        self.goes_on.wait(60)


def test_workers_wait_for_a_slow_disk_and_memory_is_bounded(tmp_path):
    output = running(SlowDisk, tmp_path / "a", ["x:v"], batch_events=16)
    chunk = chunk_of(1)
    output.begin_job()
    count = [0]

    def work():
        for i in range(20_000):
            output.write(event_of(i, chunk, 0, [np.zeros(1)]))
            count[0] = i

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(0.2)
    assert worker.is_alive()
    assert count[0] < 5000
    output.goes_on.set()
    worker.join(60)
    output.end_job()
    assert output.written == 20_000
    assert output.blocked_s > 0.05


@pytest.mark.parametrize("value", [3, True, "text"])
def test_absent_values_without_a_sign_need_a_flag(tmp_path, value):
    with pytest.raises(OutputError, match=r"x:n.*event 1:1:1.*flag_absent=True"):
        write_all(running(MemoryOutput, tmp_path / "a", ["x:n"]), [[value], [absent()]])
    output = write_all(running(MemoryOutput, tmp_path / "a", ["x:n"], flag_absent=True), [[value], [absent()]])
    assert output.memory.column("x_n_present") == [True, False]


def test_absent_products_are_empty_or_not_a_number(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", ["jets:jets", "x:score"])
    write_all(output, [[FakeJets.make(0, 2), 0.5], [absent(), absent()], [FakeJets.make(2, 1), 0.25]])
    assert output.memory.column("jets_eta") == [[0.0, -1.0], [], [0.0]]
    np.testing.assert_array_equal(output.memory.column("x_score"), [0.5, np.nan, 0.25])
    assert "x_score_present" not in {column.name for column in output.memory.schema}


def test_a_product_that_nobody_saw_has_columns_only_if_its_type_is_declared(tmp_path, caplog):
    types = {"jets:jets": FakeJets, "y:v": np.typing.NDArray[np.float32], "z:v": np.ndarray}
    output = running(MemoryOutput, tmp_path / "a", ["jets:jets", "y:v", "z:v"], types=types)
    write_all(output, [[absent(), absent(), absent()]])
    assert [c.name for c in output.memory.schema][-1] == "y_v"
    assert "z:v" in caplog.text
    assert output.memory.column("y_v") == [[]]


def test_a_product_of_undeclared_type_that_comes_too_late_is_an_error(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", ["x:v"], batch_events=10)
    with pytest.raises(OutputError, match=r"x:v.*event 1:\d+:1500.*declare"):
        write_all(output, [[absent()] for _ in range(1500)] + [[np.zeros(1)]])


def test_without_any_event_the_file_is_made_from_declared_types(tmp_path):
    types = {"x:n": int, "y:v": np.typing.NDArray[np.float32], "source:pt": np.typing.NDArray[np.float64]}
    output = running(MemoryOutput, tmp_path / "a", ["x:n", "y:v"], ["pt"], types=types)
    write_all(output, [])
    assert [column.name for column in output.memory.schema] == ["run", "luminosityBlock", "event", "x_n", "y_v", "pt"]
    assert output.final_path is not None
    assert output.final_path.exists()


def test_columns_that_would_have_one_name_are_refused(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", ["jets:pt"], ["jets_pt"])
    with pytest.raises(OutputError, match=r"'jets:pt' and 'source:jets_pt' both give a column 'jets_pt'"):
        write_all(output, [[np.zeros(1)]], source={"jets_pt": jagged([[1]])})


def test_the_ids_of_the_source_are_not_written_twice(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", [], ["event", "met"])
    source = {"event": np.arange(1, dtype=np.uint64), "met": np.ones(1, np.float32)}
    write_all(output, [[]], source=source)
    assert [c.name for c in output.memory.schema] == ["run", "luminosityBlock", "event", "path_tag", "met"]


def test_a_type_that_changes_is_an_error_that_names_the_event(tmp_path):
    output = running(MemoryOutput, tmp_path / "a", ["x:v"])
    with pytest.raises(OutputError, match=r"x:v.*event 1:1:1 is float64\[n\], but int32\[n\]"):
        write_all(output, [[np.ones(1, np.int32)], [np.ones(1)]])


def test_a_type_that_has_no_column_is_an_error_that_says_how_to_leave_it_out(tmp_path):
    with pytest.raises(OutputError, match=r"'x:v'.*a set.*'drop x:v'"):
        write_all(running(MemoryOutput, tmp_path / "a", ["x:v"]), [[{1, 2}]])


def test_end_job_after_a_begin_job_that_failed_does_nothing(tmp_path):
    output = running(MemoryOutput, tmp_path / "missing" / "a")
    with pytest.raises(OutputError, match=r"create it first"):
        output.begin_job()
    output.job_failed = True
    output.end_job()


def test_outputs_say_what_they_did(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    output = write_all(running(MemoryOutput, tmp_path / "a", ["x:n"]), [[1], [2]])
    assert output.written == 2
    assert output.bytes_written == 1
    assert output.write_s > 0
    assert output.blocked_s == 0
