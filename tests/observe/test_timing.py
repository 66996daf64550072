from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.errors import DeadlineExceeded
from evtfw.core.observer import Failure
from evtfw.observe.timing import TimingObserver
from tests.observe.synthetic import START_NS, Feeder, SimpleNamespace, SimpleProvenance, chain_info, toptag_info


def stamps_of(durations, start=START_NS):
    stamps = [start]
    for duration in durations:
        stamps.append(stamps[-1] + duration)
    return stamps


passes = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 1),
        st.lists(st.integers(0, 10**9), min_size=0, max_size=4),
        st.booleans(),
    ),
    max_size=60,
)


@given(passes)
@settings(deadline=None)
def test_totals_equal_direct_sums(calls):
    """Also of passes that a failure cut short, and of those with the CPU clock beside."""
    sizes = (4, 2)
    observer = TimingObserver()
    observer.begin_job(chain_info(sizes, streams=3))
    expected = defaultdict(list)
    for stream, segment, durations, is_sampled in calls:
        inside = durations[: sizes[segment]]
        stamps = stamps_of(inside)
        if is_sampled:
            observer.cpu_sampled(stream, segment, stamps, stamps)
        else:
            observer.segment_ran(stream, segment, stamps)
        for position, duration in enumerate(inside):
            expected[segment, position].append(duration)
    observer.end_job(None)
    timing = observer.timing()
    for module in timing.modules:
        node = module.step.node
        values = expected[node.segment, node.position]
        wall = module.step.wall
        assert (wall.count, wall.total_ns) == (len(values), sum(values))
        assert (wall.min_ns, wall.max_ns) == (min(values, default=0), max(values, default=0))
    assert timing.module_calls == sum(map(len, expected.values()))
    assert timing.module_wall_ns == sum(map(sum, expected.values()))


@given(st.integers(1, 4), st.integers(0, 3000), st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_nothing_is_lost_between_reductions(streams, events, size):
    observer = TimingObserver()
    observer.begin_job(chain_info((size,), streams))
    stamps = stamps_of(range(1, size + 1))
    for event in range(events):
        observer.segment_ran(event % streams, 0, stamps)
    observer.end_job(None)
    for number, module in enumerate(observer.timing().modules):
        assert (module.calls, module.wall_ns) == (events, events * (number + 1))


def test_memory_is_bounded_for_long_jobs():
    observer = TimingObserver()
    observer.begin_job(chain_info((10,), streams=2))
    stamps = stamps_of([100] * 10)
    for _ in range(100_000):
        observer.segment_ran(0, 0, stamps)
    assert max(len(buffer) for buffers in observer._stamps for buffer in buffers) < 10_000


def test_cpu_time_is_scaled_up_from_the_sampled_calls():
    observer = TimingObserver()
    observer.begin_job(chain_info((1,)))
    for _ in range(9):
        observer.segment_ran(0, 0, stamps_of([1000]))
    observer.cpu_sampled(0, 0, stamps_of([1000]), stamps_of([600], 0))
    observer.end_job(None)
    (module,) = observer.timing().modules
    assert module.cpu_ns == pytest.approx(6000)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 10**6)), max_size=200))
@settings(deadline=None)
def test_each_event_of_a_bulk_gets_its_share(bulks):
    observer = TimingObserver()
    observer.begin_job(chain_info((2,), streams=2))
    for number, (events, share_ns) in enumerate(bulks):
        stamps = stamps_of([events * share_ns, events])
        observer.bulk_ran(number % 2, 0, events, stamps, [stamp // 2 for stamp in stamps])
    observer.end_job(None)
    first, second = observer.timing().modules
    assert first.calls == second.calls == sum(events for events, _ in bulks)
    assert first.wall_ns == sum(events * share_ns for events, share_ns in bulks)
    assert first.step.wall.max_ns == max((share_ns for _, share_ns in bulks), default=0)
    if first.wall_ns > 1000 * len(bulks):
        assert first.cpu_ns == pytest.approx(first.wall_ns / 2, rel=0.01)


def test_cpu_time_is_unknown_without_samples():
    observer = TimingObserver()
    observer.begin_job(chain_info((1,)))
    observer.segment_ran(0, 0, stamps_of([1000]))
    observer.end_job(None)
    assert observer.timing().modules[0].cpu_ns is None


def test_external_modules_have_acquire_wait_and_produce():
    observer = TimingObserver()
    result = Feeder([observer], events=300).run()
    modules = {module.label: module for module in observer.timing().modules}
    toptag = modules["toptag"]
    assert toptag.replies.wait.count == toptag.acquire.wall.count == toptag.step.wall.count == result.events_read
    assert toptag.wall_ns == toptag.acquire.wall.total_ns + toptag.step.wall.total_ns
    assert toptag.replies.served == {"cpu:toptag": 300}
    assert toptag.replies.mean_parts_ns == {"queue": 800_000, "compute": 4_000_000}
    assert 1 <= toptag.replies.mean_batch_rows <= 9
    assert modules["jets"].replies is None


def test_replies_are_counted_by_who_served_them():
    info = toptag_info()
    observer = TimingObserver()
    observer.begin_job(info)
    produce = next(node.index for node in info.nodes if node.phase == "produce")
    remote = SimpleNamespace(provenance=SimpleProvenance("triton+grpc://a:1/m", "a:1"), times=None)
    spare = SimpleNamespace(provenance=SimpleProvenance("cpu:m", "", "a:1 is down"), times=None)
    for number, reply in enumerate([remote, remote, spare, DeadlineExceeded("late"), {"bare": 1}]):
        observer.replied(number % 2, produce, 0, 1000 + number, reply)
    observer.end_job(None)
    replies = next(module.replies for module in observer.timing().modules if module.replies)
    assert replies.served == {"triton+grpc://a:1/m": 2, "cpu:m (fallback: a:1 is down)": 1, "unknown": 1}
    assert replies.failed == {"DeadlineExceeded": 1}
    assert replies.wait.count == 5
    assert replies.mean_batch_rows is None


def test_each_server_has_a_latency_split_of_its_own():
    observer = TimingObserver()
    observer.begin_job(toptag_info())
    produce = next(node.index for node in toptag_info().nodes if node.phase == "produce")
    for number in range(4):
        server, reason = ("b:1", "") if number else ("a:1", f"try {number}")
        times = SimpleNamespace(serialise_ns=10, network_ns=20, queue_ns=0, compute_ns=100 * number, batch_rows=number)
        reply = SimpleNamespace(provenance=SimpleProvenance("triton+grpc://m", server, reason), times=times)
        observer.replied(number % 2, produce, 0, 1000 * (number + 1), reply)
    observer.end_job(None)
    busy, rare = next(module.replies for module in observer.timing().modules if module.replies).servers
    assert (busy.name, busy.replies, busy.mean_wait_ns) == ("triton+grpc://m at b:1", 3, 3000)
    assert busy.mean_parts_ns == {"serialise": 10, "network": 20, "compute": 200}
    assert busy.mean_batch_rows == 2
    assert (rare.name, rare.replies) == ("triton+grpc://m at a:1 (fallback: try 0)", 1)
    assert rare.mean_batch_rows is None


def test_failures_are_counted_by_module_and_type():
    observer = TimingObserver()
    observer.begin_job(toptag_info())
    for number in range(5):
        wrapped = RuntimeError(f"number {number}")
        wrapped.__cause__ = KeyError("x") if number else ValueError("y")
        observer.failed(0, Failure("jets", "event", None, wrapped, "continue"))
    observer.end_job(None)
    first, second = observer.timing().failures
    assert (first.label, first.error_type, first.count, first.message) == ("jets", "KeyError", 4, "number 1")
    assert (second.error_type, second.count) == ("ValueError", 1)


def test_transitions_and_timeline():
    observer = TimingObserver()
    result = Feeder([observer], events=2000).run()
    timing = observer.timing()
    assert timing.transitions["begin_job", "toptag"] == (1, 300_000_000)
    assert timing.timeline["events_ended"][-1] == result.events_read
    assert (timing.timeline["events_ended"][1:] >= timing.timeline["events_ended"][:-1]).all()
    assert "external:toptag" in timing.timeline.columns


def test_equal_provenances_of_many_replies_take_no_memory():
    info = toptag_info()
    observer = TimingObserver()
    observer.begin_job(info)
    produce = next(node.index for node in info.nodes if node.phase == "produce")
    kept = []
    for _ in range(1000):
        reply = SimpleNamespace(provenance=SimpleProvenance("cpu:m"), times=None)
        kept.append(reply)
        observer.replied(0, produce, 0, 1000, reply)
    assert len(observer._replies[produce]._streams[0].served) <= 64
    observer.end_job(None)
    replies = next(module.replies for module in observer.timing().modules if module.replies)
    assert replies.served == {"cpu:m": 1000}
