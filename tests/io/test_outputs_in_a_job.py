import awkward as ak
import numpy as np
import pytest
import uproot

from evtfw import (
    ConfigurationError,
    EndPath,
    ExitCode,
    Filter,
    Input,
    Job,
    Output,
    Path,
    Process,
    ProcessOptions,
    Producer,
)
from evtfw.io.histogram_output import HistogramOutput
from evtfw.io.parquet_output import ParquetOutput
from evtfw.io.root_output import RootOutput
from evtfw.testing import ListSource

EVENTS = 500


class Doubler(Producer):
    """Doubles."""

    x = Input[np.ndarray]("numbers", default="source:x")
    doubled = Output[np.typing.NDArray[np.float32]]("twice the numbers", unit="GeV")

    def produce(self, event):
        event[self.doubled] = event[self.x] * np.float32(2)


class Odd(Filter):
    """Passes events with an odd number of numbers."""

    x = Input[np.ndarray]("numbers", default="source:x")

    def filter(self, event):
        return len(event[self.x]) % 2 == 1


class Breaks(Odd):
    """Raises in the last events."""

    def filter(self, event):
        if event.id.event > EVENTS - 5:
            raise ValueError("broken on purpose")
        return True


def process_of(tmp_path, last=Odd, **options):
    process = Process("OUT", ProcessOptions(threads=4, streams=8, **options))
    process.source = ListSource.of([{"x": np.full(i % 4, i, np.float32)} for i in range(EVENTS)])
    process.double = Doubler()
    process.last = last()
    process.path = Path(process.double, process.last)
    process.out = RootOutput(
        path=str(tmp_path / "out.root"), keep=["double", "source:x"], select=["path"], batch_events=64
    )
    process.all = ParquetOutput(path=str(tmp_path / "all.parquet"))
    process.hists = HistogramOutput(path=str(tmp_path / "hists.root"))
    process.end = EndPath(process.out, process.all, process.hists)
    return process


def test_a_job_with_many_streams_keeps_the_order_of_input(tmp_path):
    result = Job(process_of(tmp_path)).run()
    assert result.error is None
    assert result.fates["written"] == EVENTS
    with uproot.open(tmp_path / "out.root") as file:
        events = file["Events"].arrays()
    odd = [i for i in range(EVENTS) if i % 2]
    assert events["event"].to_list() == [i + 1 for i in odd]
    assert events["x"].to_list() == [[i] * (i % 4) for i in odd]
    assert events["double_doubled"].to_list() == [[2 * i] * (i % 4) for i in odd]
    everything = ak.from_parquet(tmp_path / "all.parquet")
    assert everything["event"].to_list() == list(range(1, EVENTS + 1))
    assert everything["path_path"].to_list() == [bool(i % 2) for i in range(EVENTS)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.parquet", "hists.root", "out.root"]


def test_a_job_that_fails_leaves_parts_only(tmp_path):
    result = Job(process_of(tmp_path, Breaks)).run()
    assert result.exit_code == ExitCode.MODULE
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".part"] * 3
    with uproot.open(tmp_path / "out.root.part") as file:
        numbers = file["Events"]["event"].array().to_list()
    assert numbers == sorted(set(numbers))


def test_with_on_error_continue_failed_events_are_left_out_and_the_rest_is_in_order(tmp_path):
    result = Job(process_of(tmp_path, Breaks, on_error="continue")).run()
    assert result.error is None
    with uproot.open(tmp_path / "out.root") as file:
        assert file["Events"]["event"].array().to_list() == list(range(1, EVENTS - 4))


def test_an_output_that_cannot_write_ends_the_job_with_its_exit_code(tmp_path):
    result = Job(process_of(tmp_path / "missing")).run()
    assert result.exit_code == ExitCode.OUTPUT
    assert "create it first" in str(result.error)


def test_a_wrong_compression_is_reported_with_the_configuration(tmp_path):
    process = process_of(tmp_path)
    process.out = process.out.clone(compression="zlip")
    with pytest.raises(ConfigurationError, match=r"'compression' is 'zlip'.*did you mean 'zlib'"):
        Job(process)
