from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from evtfw.core.errors import BadRequest, CompletionDropped, ConfigurationError, ExternalError, OutputError
from evtfw.core.resource import JobContext
from evtfw.core.simulation import VirtualClock
from evtfw.external.contract import ModelDescription, Recipe, TensorSpec
from evtfw.external.errors import Overloaded
from evtfw.external.fallback import fallback
from evtfw.external.mock import MockBackend
from evtfw.external.sim.backend import SimBackend
from evtfw.external.sim.latency import LatencyModel
from evtfw.external.traffic.record import RecordBackend, record
from evtfw.external.traffic.replay import ReplayBackend, replay
from evtfw.external.urls import make_backend
from tests.external.conftest import ROWS, Outcome, rows, submit


def squared(inputs):
    return {"y": inputs["x"] ** 2}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "traffic.evtrec")


def recorded(path, context, requests, inner=None):
    """Record requests; return what came of them."""
    backend = RecordBackend(path, inner or MockBackend(squared, description=ROWS, url="mock:squares", slots=3))
    backend.open(context)
    outcomes = [submit(backend, request) for request in requests]
    backend.close()
    return outcomes


def replaying(path, context, **options):
    backend = ReplayBackend(path, **options)
    backend.open(context)
    return backend


def test_replies_are_found_in_any_order(path, context, said):
    requests = [rows(*range(i, i + 1 + i % 3)) for i in range(50)]
    first = recorded(path, context, requests)
    assert said == [f"recorded 50 replies in '{path}'"]
    backend = replaying(path, context)
    order = list(range(50))
    random.Random(1).shuffle(order)
    for i in order:
        reply = submit(backend, {"x": requests[i]["x"].copy(order="F")}).reply
        assert reply["y"].tobytes() == first[i].reply["y"].tobytes()
        assert reply.provenance.backend == f"replay:{path}"
        assert reply.provenance.server == "mock:squares"
        assert reply.provenance.sha256 == "abc"
    assert backend.describe() == ROWS
    assert backend.slots == 3
    assert backend.summary == f"50 replies of mock:squares in '{path}'"


def test_a_request_made_again_gets_the_replies_in_order_and_then_the_last(path, context):
    answers = iter(range(3))
    inner = MockBackend(lambda inputs: {"y": inputs["x"] * 0 + next(answers)}, description=ROWS)
    recorded(path, context, [rows(1)] * 3, inner)
    backend = replaying(path, context)
    assert [submit(backend, rows(1)).reply["y"][0, 0] for _ in range(5)] == [0, 1, 2, 2, 2]


def test_the_order_is_that_of_asking_not_of_answering(path, context):
    inner = MockBackend(squared, description=ROWS, manual=True)
    backend = RecordBackend(path, inner)
    backend.open(context)
    outcomes = [submit(backend, rows(1)) for _ in range(2)]
    second, first = inner.pending[1], inner.pending[0]
    second.resolve({"y": np.array([[2.0]], np.float32)})
    first.resolve({"y": np.array([[1.0]], np.float32)})
    assert [o.reply["y"][0, 0] for o in outcomes] == [1, 2]
    backend.close()
    again = replaying(path, context)
    assert [submit(again, rows(1)).reply["y"][0, 0] for _ in range(2)] == [1, 2]


def test_inputs_may_be_used_again_after_the_reply(path, context):
    backend = RecordBackend(path, MockBackend(squared, description=ROWS))
    backend.open(context)
    lent = rows(0)
    for i in range(20):
        lent["x"][:] = i
        submit(backend, lent)
    backend.close()
    again = replaying(path, context)
    assert [submit(again, rows(i)).reply["y"][0, 0] for i in range(20)] == [i**2 for i in range(20)]


def test_errors_are_repeated(path, context):
    class Private(Overloaded):
        """A kind that evtfw does not know."""

    errors = iter([Overloaded("too much"), Private("much too much"), ExternalError("boom"), ZeroDivisionError("no")])

    def fail(inputs):
        raise next(errors)

    first = recorded(path, context, [rows(i) for i in range(4)], MockBackend(fail, description=ROWS))
    assert isinstance(first[0].error, Overloaded)
    again = replaying(path, context)
    repeated = [submit(again, rows(i)).error for i in range(4)]
    assert [(type(e), str(e)) for e in repeated] == [
        (Overloaded, "too much"),
        (Overloaded, "much too much"),
        (ExternalError, "boom"),
        (ExternalError, "ZeroDivisionError: no"),
    ]


def test_what_was_given_up_or_dropped_is_kept_as_an_error(path, context):
    inner = MockBackend(manual=True)
    backend = RecordBackend(path, inner)
    backend.open(context)
    given_up = Outcome()
    backend.submit(rows(1), given_up.done)
    given_up.done.cancel()
    assert inner.pending[0].was_cancelled
    dropped = submit(backend, rows(2))
    inner.pending[1].drop()
    backend.close()
    assert isinstance(dropped.error, CompletionDropped)
    again = replaying(path, context)
    assert "given up" in str(submit(again, rows(1)).error)
    assert isinstance(submit(again, rows(2)).error, CompletionDropped)


def test_latencies_are_those_of_then(path, said):
    clock = VirtualClock()
    context = JobContext(clock, 1, 1, said.append)
    recording = RecordBackend(path, SimBackend(LatencyModel(20, shape=2), answer=squared, description=ROWS))
    recording.open(context)
    first = [submit(recording, rows(i)) for i in range(10)]
    while clock.advance():
        pass
    recording.close()
    took_ns = {}
    start_ns = clock.now_ns()
    again = replaying(path, context, latencies=True)

    class Timed(Outcome):
        def _end(self, reply, error):
            took_ns[reply["y"][0, 0]] = clock.now_ns() - start_ns
            super()._end(reply, error)

    outcomes = [Timed() for _ in range(10)]
    for i, outcome in enumerate(outcomes):
        again.submit(rows(i), outcome.done)
    cancelled = Outcome()
    again.submit(rows(3), cancelled.done)
    cancelled.done.cancel()
    while clock.advance():
        pass
    expected = [o.reply.times.compute_ns for o in first]
    assert [took_ns[i**2] for i in range(10)] == pytest.approx(expected, abs=5)
    assert outcomes[0].reply.times == first[0].reply.times
    assert not cancelled.is_there
    waiting = submit(again, rows(1))
    again.close()
    assert "closed" in str(waiting.error)


def test_an_unknown_request_says_what_differs(path, context):
    two = ModelDescription(
        "pair",
        inputs=(TensorSpec("x", np.dtype("f4"), (None, None)), TensorSpec("n", np.dtype("i8"), (None,))),
        max_batch_size=None,
    )
    request = {"x": np.zeros((2, 3), np.float32), "n": np.zeros(2, np.int64)}
    recorded(path, context, [request], MockBackend(description=two))
    backend = replaying(path, context)

    def problem(**changes):
        error = submit(backend, request | changes).error
        assert error is not None
        return type(error), str(error)

    start = f"'{path}' has no reply of model 'pair' to this request: "
    assert problem(n=np.ones(2, np.int64)) == (
        ExternalError,
        f"{start}requests with n: int64 [2], x: float32 [2, 3] were recorded, but with other values",
    )
    assert (
        problem(x=np.zeros((2, 4), np.float32))[1]
        == f"{start}it has x: float32 [2, 4], recorded were x: float32 [2, 3]"
    )
    assert problem(n=np.zeros(2, np.int32))[0] is BadRequest
    assert problem(z=np.zeros(2))[0] is BadRequest


def test_names_that_were_not_recorded(path, context):
    recorded(path, context, [{"x": np.zeros(2)}], MockBackend())
    error = submit(replaying(path, context), {"z": np.zeros(2)}).error
    assert "it has z: float64 [2], recorded were x: float64 [2]" in str(error)
    assert isinstance(submit(replaying(path, context), {"z": np.array([object()])}).error, BadRequest)


def test_without_traffic_there_is_still_a_description(path, context):
    recorded(path, context, [])
    backend = replaying(path, context)
    assert backend.describe() == ROWS
    assert "nothing was recorded" in str(submit(backend, rows(1)).error)


# As values and URLs


def test_they_are_values_that_a_configuration_can_write_and_dump():
    value = fallback(record("a.evtrec", fallback("mock:a", "mock:b")), replay("b.evtrec", latencies=True), replay("c"))
    names = {"fallback": fallback, "record": record, "replay": replay}
    assert eval(repr(value), names) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert all(isinstance(choice, Recipe) for choice in value.choices)
    assert isinstance(record("a", "mock:a").make(), RecordBackend)
    assert isinstance(replay("a").make(), ReplayBackend)


def test_urls(path, context):
    backend = make_backend(f"record:{path}?of=mock:m?inputs=x:float32[?,1]%26fail_every=2")
    backend.open(context)
    submit(backend, rows(1))
    backend.close()
    assert submit(_opened(f"replay:{path}?latencies=0", context), rows(1)).reply["x"].tolist() == [[1]]


def _opened(url, context):
    backend = make_backend(url)
    backend.open(context)
    return backend


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("record:f", "write record:FILE"),
        ("record:?of=mock:m", "write record:FILE"),
        ("record:f?of=mock:m&to=x", "there is no option 'to'"),
        ("replay:", "write replay:FILE"),
        ("replay:f?latencies=2", "latencies must be one of 0, 1"),
    ],
)
def test_a_wrong_url_is_refused(url, message):
    with pytest.raises(ValueError, match=message):
        make_backend(url)


# What can go wrong with files


def test_a_file_that_cannot_be_written_is_a_mistake_of_the_configuration(tmp_path, context):
    for path in (tmp_path / "no" / "t.evtrec", tmp_path):
        backend = RecordBackend(str(path), MockBackend())
        with pytest.raises(ConfigurationError, match="cannot record to"):
            backend.open(context)
        backend.close()


def test_two_backends_cannot_record_to_one_file(path, context):
    first, second = (RecordBackend(path, MockBackend()) for _ in range(2))
    first.open(context)
    with pytest.raises(ConfigurationError, match="being recorded by another"):
        second.open(context)
    second.close()
    first.close()
    second.open(context)
    second.close()


def test_what_cannot_be_kept_fails_the_end_but_not_the_requests(path, context, tmp_path):
    backend = RecordBackend(path, MockBackend())
    backend.open(context)
    assert submit(backend, {"x": np.zeros(1)}).error is None
    assert submit(backend, {"x": np.array([1.5, None], object)}).error is None
    assert submit(backend, {"x": np.ones(1)}).error is None
    with pytest.raises(OutputError, match=r"only strings can be kept in a file; '.*part' has the first 2 records"):
        backend.close()
    (part,) = tmp_path.iterdir()
    assert submit(replaying(str(part), context), {"x": np.zeros(1)}).error is None


def test_a_missing_file_names_what_a_crash_left(path, context, tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot replay .* No such file"):
        ReplayBackend(path).open(context)
    (tmp_path / "traffic.evtrec.12-ab.part").touch()
    with pytest.raises(ConfigurationError, match=r"left '.*traffic.evtrec.12-ab.part', which can be replayed"):
        ReplayBackend(path).open(context)
    with pytest.raises(ConfigurationError, match="there is no folder"):
        ReplayBackend("nowhere/at/all").open(context)


def test_a_file_cut_off_anywhere_gives_the_records_before(path, context, tmp_path, said):
    recorded(path, context, [rows(i) for i in range(4)])
    whole = Path(path).read_bytes()
    cut = tmp_path / "cut"
    counts = []
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        try:
            backend = replaying(str(cut), context)
        except ConfigurationError as error:
            counts.append(-1 if "cannot replay" in str(error) else -2)
            continue
        counts.append(backend._file.count)
        assert [submit(backend, rows(i)).error is None for i in range(4)] == [i < counts[-1] for i in range(4)]
        backend.close()
    assert counts == sorted(counts)
    assert set(counts) == {-1, 0, 1, 2, 3, 4}
    assert said[-1] == f"'{cut}' was not completed; its first 4 replies are replayed"
    cut.write_bytes(whole[: whole.rindex(b"EvtR")] + bytes(5000))
    assert replaying(str(cut), context)._file.count == 4


def test_a_flipped_bit_anywhere_is_noticed(path, context, tmp_path):
    requests = [rows(1, 2, 3), rows(4)]
    expected = [o.reply["y"].tobytes() for o in recorded(path, context, requests)]
    whole = Path(path).read_bytes()
    bad = tmp_path / "bad"
    refused = []
    for at in range(len(whole)):
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            backend = replaying(str(bad), context)
        except ConfigurationError as error:
            refused.append(str(error))
            continue
        outcomes = [submit(backend, request) for request in requests]
        assert any(o.error is not None for o in outcomes)
        assert all("damaged" in str(o.error) for o in outcomes if o.error is not None)
        assert all(o.reply["y"].tobytes() == e for o, e in zip(outcomes, expected, strict=True) if o.error is None)
        backend.close()
    assert len(refused) > len(whole) / 2
    assert all("damaged" in text or "no record of traffic" in text for text in refused)


def test_other_files_are_refused(tmp_path, context):
    for number, content in enumerate([b"", b"PK\x03\x04 and so on", b"EVTREC1\n"]):
        file = tmp_path / str(number)
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"no record of traffic|ends before"):
            ReplayBackend(str(file)).open(context)
