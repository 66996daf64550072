"""The observers in real jobs: what they say agrees with what the job counted."""

import threading

import numpy as np
import pytest

from evtfw import Analyzer, ExternalWorkModule, Filter, Input, Job, Output, Path, Process, Producer, Source
from evtfw.core.source import Chunk
from evtfw.observe.memory import MemoryObserver
from evtfw.observe.progress import ProgressObserver
from evtfw.observe.report import JobRecord, report_dict, write_report
from evtfw.observe.summary import TimingSummary
from evtfw.observe.timing import TimingObserver
from evtfw.observe.trace import TraceObserver
from tests.observe.test_report import check
from tests.observe.test_trace import assert_counters_are_steps, assert_slices_nest, assert_waits_match, load

EVENTS = 600


class Numbers(Source):
    """Empty events."""

    def columns(self):
        return {}

    def event_count(self):
        return EVENTS

    def chunks(self, columns, first, count):
        for start in range(0, EVENTS, 100):
            numbers = np.arange(start, start + 100)
            yield Chunk(np.ones(100, int), 1 + numbers // 200, numbers, {}, "numbers", start)


class Make(Producer):
    """Makes a number."""

    number = Output[int]("the number of the event")

    def produce(self, event):
        if event.index % 50 == 49:
            raise ValueError("unlucky")
        event[self.number] = event.index


class Even(Filter):
    """Passes even numbers."""

    number = Input[int]("a number")

    def filter(self, event):
        return event[self.number] % 2 == 0


class Ask(ExternalWorkModule):
    """Has the number squared in another thread."""

    number = Input[int]("a number")
    square = Output[int]("its square")

    def acquire(self, event, done):
        threading.Thread(target=done.resolve, args=(event[self.number] ** 2,)).start()

    def produce(self, event, reply):
        event[self.square] = reply


class Look(Analyzer):
    """Reads the square."""

    square = Input[int]("a square")

    def analyze(self, event):
        event[self.square]


@pytest.fixture
def process():
    process = Process("OBSERVED")
    process.source = Numbers()
    process.make = Make()
    process.even = Even(number="make")
    process.ask = Ask(number="make")
    process.look = Look(square="ask")
    process.path = Path(process.make, process.even, process.ask, process.look)
    process.set_options(threads=2, streams=4, on_error="continue")
    return process


def test_all_observers_agree_with_the_job(process, tmp_path):
    timing_observer, memory = TimingObserver(), MemoryObserver()
    trace = TraceObserver(tmp_path / "trace.json")
    job = Job(process, [timing_observer, memory, trace, ProgressObserver(quiet=True)])
    result = job.run()
    timing = timing_observer.timing()
    modules = {module.label: module for module in timing.modules}
    assert modules["make"].calls == result.events_read == EVENTS
    assert modules["even"].calls == EVENTS - result.failures_count
    assert modules["ask"].replies.wait.count == modules["look"].calls == result.paths["path"].accepted
    assert [(kind.label, kind.error_type, kind.count) for kind in timing.failures] == [("make", "ValueError", 12)]
    assert modules["make"].cpu_ns is not None
    entries = load(tmp_path / "trace.json")
    assert_slices_nest(entries)
    assert len(assert_waits_match(entries)) == result.paths["path"].accepted
    assert_counters_are_steps(entries)
    record = JobRecord(job.info, result, timing, memory.memory())
    report = report_dict(record)
    assert sum(report["events"]["fates"].values()) == EVENTS
    check(write_report(tmp_path / "report", record).read_text())
    assert TimingSummary(job.info, result, timing) is not None


def test_a_job_that_fails_has_a_complete_trace_and_report(process, tmp_path):
    process.set_options(on_error="rethrow")
    timing = TimingObserver()
    job = Job(process, [timing, TraceObserver(tmp_path / "trace.json")])
    result = job.run()
    assert result.error is not None
    entries = load(tmp_path / "trace.json")
    assert_slices_nest(entries)
    assert_waits_match(entries)
    page = write_report(tmp_path, JobRecord(job.info, result, timing.timing())).read_text()
    assert "MODULE" in page
