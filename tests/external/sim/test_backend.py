from __future__ import annotations

import gc

import numpy as np
import pytest

from evtfw import EndPath, ExternalWorkModule, Job, Output, Parameter, Path, Process
from evtfw.core.clock import RealClock
from evtfw.core.errors import (
    BadReply,
    BadRequest,
    CompletionDropped,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.core.resource import JobContext
from evtfw.core.simulation import SimulatedRuntime, VirtualClock
from evtfw.external.batcher import Batcher
from evtfw.external.contract import Backend, Request
from evtfw.external.errors import Overloaded
from evtfw.external.mock import MockBackend
from evtfw.external.sim.backend import SimBackend
from evtfw.external.sim.faults import FailureRates, Outage
from evtfw.external.sim.latency import LatencyModel
from evtfw.external.urls import make_backend
from evtfw.io.empty_source import EmptySource
from tests.external.conftest import ROWS, Outcome, rows, submit


@pytest.fixture
def clock():
    return VirtualClock()


def negated(inputs):
    return {"y": -inputs["x"]}


def opened(context, *args, **options):
    options = {"answer": negated, "description": ROWS} | options
    backend = SimBackend(*args, **options)
    backend.open(context)
    return backend


def go(clock, limit_s=None):
    while clock.next_due_ns() is not None and clock.advance(None if limit_s is None else round(limit_s * 1e9)):
        pass


def test_a_reply_comes_after_the_latency(context, clock):
    backend = opened(context, LatencyModel(5, per_row_ms=1, network_ms=2))
    outcome = submit(backend, rows(1, 2, 3))
    assert not outcome.is_there
    go(clock)
    assert outcome.reply["y"].tolist() == [[-1], [-2], [-3]]
    assert clock.now_ns() == pytest.approx(10e6, abs=2)
    assert outcome.reply.times[:5] == pytest.approx((0, 2_000_000, 0, 8_000_000, 3), abs=2)
    assert outcome.reply.provenance.sha256 == "abc"


def test_what_finds_no_server_waits_for_its_turn(context, clock):
    backend = opened(context, LatencyModel(10), servers=2)
    outcomes = [submit(backend, rows(i)) for i in range(5)]
    go(clock)
    assert [o.reply.times.queue_ns for o in outcomes] == pytest.approx([0, 0, 10e6, 10e6, 20e6], abs=4)
    assert backend.slots == 2
    assert backend.statistics.longest_queue == 3
    assert backend.statistics.busy_s == pytest.approx(0.05)


def test_larger_priorities_are_served_first(context, clock):
    backend = opened(context, LatencyModel(10), servers=1)
    outcomes = [submit(backend, Request(rows(1), priority=p)) for p in (0, 0, 5, 1, 5)]
    go(clock)
    assert [round(o.reply.times.queue_ns / 1e7) for o in outcomes] == [0, 4, 1, 3, 2]


def test_a_full_queue_refuses(context, clock):
    backend = opened(context, LatencyModel(10), servers=1, queue_limit=1)
    outcomes = [submit(backend, rows(1)) for _ in range(3)]
    assert isinstance(outcomes[2].error, Overloaded)
    go(clock)
    assert [o.error for o in outcomes[:2]] == [None, None]


def test_giving_up_frees_the_server_and_leaves_the_queue(context, clock):
    backend = opened(context, LatencyModel(10), servers=1, failures=FailureRates(hang=1))
    given_up = [Outcome() for _ in range(200)]
    for outcome in given_up:
        backend.submit(rows(1), outcome.done)
    for outcome in reversed(given_up):
        outcome.done.cancel()
    assert backend.statistics.given_up == 200
    assert backend._servers.busy == 0
    assert backend._servers.waiting == 0
    assert len(backend._servers._queue) <= 64
    go(clock)
    assert not any(outcome.is_there for outcome in given_up)


def test_a_deadline_that_passes_in_the_queue_holds_no_server(context, clock):
    backend = opened(context, LatencyModel(10), servers=1)
    first, late = submit(backend, rows(1)), submit(backend, rows(1), deadline_ns=5_000_000)
    go(clock)
    assert first.error is None
    assert isinstance(late.error, DeadlineExceeded)
    assert clock.now_ns() == pytest.approx(10e6, abs=2)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("unavailable", ServerUnavailable),
        ("deadline", DeadlineExceeded),
        ("bad_reply", BadReply),
        ("nan", BadReply),
        ("drop", CompletionDropped),
    ],
)
def test_failures_come_as_often_as_asked_for(context, clock, kind, error):
    backend = opened(context, LatencyModel(1), failures=FailureRates(**{kind: 0.25}), seed=3)
    outcomes = [submit(backend, rows(1), name="toptag in event 1:1:1") for _ in range(1000)]
    go(clock)
    gc.collect()
    failed = [o.error for o in outcomes if o.error is not None]
    assert {type(e) for e in failed} == {error}
    assert len(failed) == pytest.approx(250, abs=45)
    assert dict(backend.statistics.failed) == {error.__name__: len(failed)}
    assert backend.statistics.answered == 1000 - len(failed)


def test_nan_can_be_flagged_or_passed(context, clock):
    for policy, flagged in (("flag", ("y",)), ("pass", ())):
        backend = opened(context, failures=FailureRates(nan=1), nonfinite=policy)
        reply = submit(backend, rows(1, 2)).reply
        assert np.isnan(reply["y"]).ravel().tolist() == [True, False]
        assert reply.nonfinite == flagged


def test_the_same_seed_gives_the_same_times_and_failures(context, clock):
    def run(seed, **options):
        backend = opened(context, LatencyModel(5, p99_ms=20), seed=seed, servers=1, **options)
        start_ns = clock.now_ns()
        outcomes = [submit(backend, rows(1)) for _ in range(20)]
        go(clock)
        return [type(o.error) for o in outcomes], clock.now_ns() - start_ns

    failing = FailureRates(unavailable=0.3)
    assert run(1, failures=failing) == run(1, failures=failing)
    assert run(1, failures=failing) != run(2, failures=failing)
    assert run(1) == run(1, failures=FailureRates(deadline=0)), "failures do not change the times"


def test_an_outage_refuses_what_comes_and_what_is_there(context, clock):
    backend = opened(context, LatencyModel(100), servers=1, outage=Outage(0.05, 0.2))
    there, waiting = submit(backend, rows(1)), submit(backend, rows(1))
    go(clock, 0.1)
    comes = submit(backend, rows(1))
    assert [type(o.error) for o in (there, waiting, comes)] == [ServerUnavailable] * 3
    clock.advance(round(0.3e9))
    again = submit(backend, rows(1))
    go(clock)
    assert again.error is None


def test_a_stopped_service_answers_when_it_goes_on(context, clock):
    backend = opened(context, LatencyModel(100), servers=1, outage=Outage(0.05, 0.2, when_down="stop"))
    outcomes = [submit(backend, rows(1)) for _ in range(2)]
    go(clock)
    assert [o.reply.times.compute_ns for o in outcomes] == pytest.approx([300e6, 100e6], abs=5)


def test_down_from_the_start_means_that_it_cannot_be_opened(context):
    with pytest.raises(ServerUnavailable, match="down from the start"):
        make_backend("sim:m?down_for_s=10").open(context)


def test_closing_fails_what_is_there_and_it_can_be_opened_again(context, clock):
    backend = opened(context, LatencyModel(10, network_ms=10), servers=2)
    outcomes = [submit(backend, rows(1)) for _ in range(2)]
    go(clock, 0.015)
    outcomes += [submit(backend, rows(1)) for _ in range(3)]
    backend.close()
    assert [type(o.error) for o in outcomes] == [ExternalError] * 5
    assert isinstance(submit(backend, rows(1)).error, ExternalError)
    backend.open(context)
    outcome = submit(backend, rows(1))
    go(clock)
    assert outcome.error is None


def test_wrong_requests_and_unopened_backends_refuse(context):
    assert isinstance(submit(opened(context), {"z": np.zeros(1)}).error, BadRequest)
    assert isinstance(submit(SimBackend(), rows(1)).error, ExternalError)
    broken = opened(context, answer=lambda inputs: 1 / 0)
    assert "ZeroDivisionError" in str(submit(broken, rows(1)).error)


# Values of another backend


def test_values_of_another_backend_come_after_both(context, clock):
    inner = MockBackend(negated, description=ROWS, manual=True)
    backend = opened(context, LatencyModel(10), inner=inner, servers=1)
    clocked = JobContext(RealClock(), 1, 1, context.say)
    real = SimBackend(LatencyModel(0), inner=inner)
    real.open(clocked)
    outcome = submit(real, rows(2))
    assert not outcome.is_there
    inner.pending[0].resolve()
    assert outcome.reply["y"].tolist() == [[-2]]
    assert backend.describe() is ROWS
    early = submit(backend, rows(1))
    inner.pending[0].resolve()
    assert not early.is_there
    go(clock)
    assert early.reply.times.compute_ns == pytest.approx(10e6, abs=2)


def test_errors_of_another_backend_and_giving_up_pass_through():
    inner = MockBackend(negated, description=ROWS, manual=True)
    backend = SimBackend(LatencyModel(0), inner=inner)
    backend.open(JobContext(RealClock(), 1, 1, lambda line: None))
    outcomes = [Outcome() for _ in range(3)]
    for outcome in outcomes:
        backend.submit(rows(1), outcome.done)
    inner.pending[0].fail(ServerUnavailable("gone"))
    assert isinstance(outcomes[0].error, ServerUnavailable)
    outcomes[1].done.cancel()
    assert inner.pending[0].was_cancelled
    assert backend.statistics.given_up == 1
    inner.pending[1].drop()
    assert isinstance(outcomes[2].error, CompletionDropped)
    inner.pending[0].resolve()


# In a job


class Ask(ExternalWorkModule):
    """Asks for the number of the event."""

    backend = Parameter[Backend]("who is asked")
    answer = Output[float]("what came back")

    def acquire(self, event, done):
        self.backend.submit({"x": np.array([[event.id.event]], np.float32)}, done)

    def produce(self, event, reply):
        event[self.answer] = float(next(iter(reply.values()))[0, 0])


@pytest.mark.parametrize("url", ["sim:m?latency_ms=50&p99_ms=200", "sim:m?latency_ms=5000&servers=2&of=mock:inner"])
def test_a_job_runs_in_virtual_time(url):
    process = Process("SIM")
    process.source = EmptySource(events=40)
    process.ask = Ask(backend=url, timeout_s=1e6)
    process.path = Path(process.ask)
    process.end = EndPath()
    process.set_options(streams=4)
    result = Job(process, runtime=SimulatedRuntime(1)).run()
    assert result.exit_code == 0
    assert result.fates["passed"] == 40


def test_on_the_real_clock_requests_are_answered_from_its_thread():
    backend = make_backend("sim:m?latency_ms=1&distribution=exponential&servers=3&outputs=y:float32[?,2]")
    backend.open(JobContext(RealClock(), 1, 4, lambda line: None))
    outcomes = [submit(backend, rows(1)) for _ in range(50)]
    assert all(o.reply["y"].shape == (1, 2) for o in outcomes)
    backend.close()


# The URL


def test_an_url_says_it_all(context, clock):
    backend = make_backend("sim:tagger?latency_ms=10&servers=1&queue=0&outputs=y:float32[?,1]&max_batch=8")
    assert isinstance(backend, Batcher)
    backend.open(context)
    outcomes = [submit(backend, rows(i)) for i in range(9)]
    go(clock)
    assert [o.reply.times.batch_rows for o in outcomes] == [1, *[8] * 8]
    assert backend.describe().name == "tagger"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sim:m?latency=5", "there is no option 'latency'; did you mean 'latency_ms'"),
        ("sim:m?latency_ms=5&mean_ms=5", "are the same"),
        ("sim:m?latency_ms=5&p99_ms=1", "lies between"),
        ("sim:m?distribution=gaus", "there is no distribution 'gaus'"),
        ("sim:m?hang=2", "from 0 to 1"),
        ("sim:m?down_from_s=1&down_for_s=2&down_every_s=1", "never be up"),
        ("sim:m?answer=zeros", "zeros of which tensors"),
        ("sim:m?of=cpu:toptag&answer=echo", "answer is what cpu:toptag says"),
        ("sim:m?of=cup:toptag", "no backend for scheme 'cup'"),
        ("sim:m?max_delay_s=1", "give max_batch"),
    ],
)
def test_a_wrong_url_is_refused(url, message):
    with pytest.raises(ValueError, match=message):
        make_backend(url)
