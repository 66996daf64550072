import gzip
import itertools
import json
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evtfw.core.errors import OutputError
from evtfw.core.event import EventId
from evtfw.observe.trace import TraceObserver
from tests.observe.synthetic import START_NS, Feeder, chain_info, toptag_info

NS = 1000  # of a microsecond, the unit of the file


def load(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_text()
    return json.loads(text)["traceEvents"]


def whole_ns(entry, key):
    return round(entry[key] * NS)


def assert_slices_nest(entries):
    """In every lane slices lie within or beside each other."""
    lanes = defaultdict(list)
    for entry in entries:
        if entry["ph"] == "X":
            start = whole_ns(entry, "ts")
            lanes[entry["pid"], entry["tid"]].append((start, -(start + whole_ns(entry, "dur"))))
    for slices in lanes.values():
        enclosing = []
        for start, minus_end in sorted(slices):
            while enclosing and enclosing[-1] <= start:
                enclosing.pop()
            assert not enclosing or -minus_end <= enclosing[-1]
            enclosing.append(-minus_end)


def assert_waits_match(entries):
    begins = {entry["id"]: entry for entry in entries if entry["ph"] == "b"}
    ends = {entry["id"]: entry for entry in entries if entry["ph"] == "e"}
    assert begins.keys() == ends.keys()
    for number, begin in begins.items():
        end = ends[number]
        assert all(begin[key] == end[key] for key in ("name", "cat", "pid", "tid"))
        assert begin["ts"] <= end["ts"]
    return begins


def assert_counters_are_steps(entries):
    steps = defaultdict(list)
    for entry in entries:
        if entry["ph"] == "C" and entry["name"].startswith("in flight"):
            steps[entry["name"]].append((entry["ts"], entry["args"]["requests"]))
    for name, values in steps.items():
        numbers = [number for _, number in values]
        assert values == sorted(values, key=lambda value: value[0]), name
        assert min(numbers) == 0 == numbers[-1], name
        assert all(abs(a - b) == 1 for a, b in itertools.pairwise(numbers)), name
    return steps


@pytest.mark.parametrize("name", ["trace.json", "deep/er/trace.json.gz"])
@pytest.mark.parametrize("failure_rate", [0.0, 0.1])
def test_a_job_makes_a_well_formed_trace(tmp_path, name, failure_rate):
    path = tmp_path / name
    observer = TraceObserver(path)
    result = Feeder([observer], events=200, failure_rate=failure_rate).run()
    entries = load(path)
    assert_slices_nest(entries)
    begins = assert_waits_match(entries)
    steps = assert_counters_are_steps(entries)
    assert set(steps) == {"in flight: toptag", "in flight: pileup"}
    events = [entry for entry in entries if entry["ph"] == "X" and entry["name"].startswith("event ")]
    assert Counter(entry["args"]["fate"] for entry in events) == Counter({k: v for k, v in result.fates.items() if v})
    assert len(begins) >= 0.8 * 2 * len(events)
    failed = [entry for entry in entries if entry["ph"] == "i"]
    assert len(failed) == result.failures_count
    assert not list(tmp_path.rglob("*.part"))


def test_modules_lie_in_their_event(tmp_path):
    path = tmp_path / "t.json"
    Feeder([TraceObserver(path)], events=50).run()
    slices = [entry for entry in load(path) if entry["ph"] == "X" and entry["pid"] == 1]
    events = {entry["name"].removeprefix("event "): entry for entry in slices if "fate" in entry["args"]}
    modules = [entry for entry in slices if "event" in entry["args"]]
    assert {entry["name"] for entry in modules} >= {"jets", "toptag acquire", "toptag", "TriggerResults"}
    for module in modules:
        event = events[module["args"]["event"]]
        assert event["tid"] == module["tid"]
        assert event["ts"] <= module["ts"]


def test_only_every_nth_event_is_traced(tmp_path):
    path = tmp_path / "t.json"
    Feeder([TraceObserver(path, every=10)], events=200).run()
    entries = load(path)
    assert sum(entry["name"].startswith("event ") for entry in entries if entry["ph"] == "X") == 20
    assert_slices_nest(entries)
    assert_waits_match(entries)


def test_the_name_appears_when_the_file_is_complete(tmp_path):
    path = tmp_path / "t.json"
    observer = TraceObserver(path)
    assert not list(tmp_path.iterdir())
    observer.begin_job(toptag_info())
    assert not path.exists()
    observer.end_job(None)
    assert load(path)


def test_a_long_trace_is_written_as_it_grows(tmp_path):
    observer = TraceObserver(tmp_path / "t.json")
    observer.begin_job(chain_info((10,)))
    stamps = list(range(START_NS, START_NS + 11))
    for event in range(4_000):
        observer.event_started(0, EventId(1, 1, event), START_NS)
        observer.segment_ran(0, 0, stamps)
    assert (tmp_path / "t.json.part").stat().st_size > 3_000_000
    assert observer._file._size < 1_000_000
    observer.end_job(None)


def test_a_path_that_cannot_be_written_is_told_before_the_job(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write the trace .*--trace"):
        TraceObserver(tmp_path / "file" / "t.json")


def test_every_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="every=0"):
        TraceObserver(tmp_path / "t.json", every=0)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 5000), st.lists(st.integers(0, 3000), max_size=3)), max_size=40
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_segments_that_overlap_in_a_stream_get_lanes_of_their_own(tmp_path, segments):
    path = tmp_path / "t.json"
    observer = TraceObserver(path)
    observer.begin_job(chain_info((3,), streams=3))
    for stream in range(3):
        observer.event_started(stream, EventId(1, 1, stream), START_NS)
    for stream, start, durations in segments:
        stamps = [START_NS + start]
        for duration in durations:
            stamps.append(stamps[-1] + duration)
        observer.segment_ran(stream, 0, stamps)
    for stream in range(3):
        observer.event_ended(stream, EventId(1, 1, stream), START_NS + 10, "filtered")
    observer.end_job(None)
    entries = load(path)
    assert_slices_nest(entries)
    modules = [entry for entry in entries if entry["ph"] == "X" and "event" in entry["args"]]
    assert len(modules) == sum(len(durations) for _, _, durations in segments)


@pytest.mark.parametrize(("every", "traced"), [(1, 4), (3, 2)])
def test_what_ran_for_several_events_lies_between_events(tmp_path, every, traced):
    path = tmp_path / "t.json"
    observer = TraceObserver(path, every=every)
    observer.begin_job(chain_info((2,)))
    for number in range(4):
        start_ns = START_NS + 1000 * number
        observer.bulk_ran(0, 0, 16, [start_ns, start_ns + 300, start_ns + 400], [0, 1, 2])
        observer.event_started(0, EventId(1, 1, number), start_ns + 500)
        observer.event_ended(0, EventId(1, 1, number), start_ns + 900, "filtered")
    observer.end_job(None)
    entries = load(path)
    assert_slices_nest(entries)
    bulks = [entry for entry in entries if "(bulk)" in entry["name"]]
    assert len(bulks) == 2 * traced
    assert all(entry["args"]["events"] == 16 for entry in bulks)
    assert {entry["tid"] for entry in bulks} == {0}
