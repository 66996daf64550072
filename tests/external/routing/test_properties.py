"""Whatever the servers do, each request ends exactly once, in time, and nothing is left behind."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.errors import BadReply, BadRequest, DeadlineExceeded, ServerUnavailable
from evtfw.external.errors import ModelNotFound, Overloaded
from tests.external.conftest import Outcome, rows
from tests.external.routing.bench import DROP, HANG, TWICE, Bench, Server

ERRORS = [ServerUnavailable, Overloaded, ModelNotFound, DeadlineExceeded, BadRequest, BadReply]
WHATS = st.sampled_from([None, None, None, None, HANG, DROP, TWICE, *ERRORS])
DELAYS = st.sampled_from([0.0, 0.001, 0.01, 0.3, 3.0])
BEHAVIOURS = st.lists(st.tuples(WHATS, DELAYS), min_size=1, max_size=12)


def scripted(name, script):
    def behaviour(number):
        what, delay_s = script[number % len(script)]
        return (what(name) if isinstance(what, type) else what), delay_s

    return Server(name, behaviour)


@settings(max_examples=100, deadline=None)
@given(
    scripts=st.lists(BEHAVIOURS, min_size=1, max_size=3),
    requests=st.lists(
        st.tuples(st.sampled_from([0.0, 0.0, 0.002, 0.2, 2.0]), st.sampled_from([0.005, 0.5, 5.0])), max_size=25
    ),
    hedge=st.booleans(),
    limit=st.sampled_from([0, 1, 3]),
    retries=st.integers(0, 4),
    gives_up=st.sets(st.integers(0, 24)),
    seed=st.integers(0, 9),
)
def test_each_request_ends_once_and_in_time(scripts, requests, hedge, limit, retries, gives_up, seed):
    servers = [scripted(chr(ord("a") + number), script) for number, script in enumerate(scripts)]
    bench = Bench(*servers, hedge=hedge, limit=limit, retries=retries, seed=seed)
    outcomes, ended_ns = [], {}
    for number, (gap_s, timeout_s) in enumerate(requests):
        bench.wait(gap_s)
        outcome = Outcome(deadline_ns=bench.clock.now_ns() + round(timeout_s * 1e9))
        keep(outcome, number, ended_ns, bench.clock)
        done, deadline_ns = outcome.done, outcome.done.deadline_ns
        outcomes.append((outcome, deadline_ns))
        bench.router.submit(rows(number), done)
        if number in gives_up:
            done.cancel()
        outcome.done = None
        del done
    bench.wait(20)
    for number, (outcome, deadline_ns) in enumerate(outcomes):
        assert outcome.times_ended == 1 or (number in gives_up and outcome.times_ended == 0)
        if outcome.times_ended:
            assert ended_ns[number] <= deadline_ns
            if outcome.error is None:
                assert outcome.reply["y"].item() == number
                assert outcome.reply.provenance.attempts <= 1 + 2 * (retries + 1) + 10
    for server, statistics in zip(servers, bench.statistics(), strict=True):
        assert statistics.in_flight == 0
        assert not limit or server.most_in_flight <= limit
        counted = statistics.successes + sum(statistics.failures.values()) + statistics.abandoned
        assert counted == statistics.requests == server.requests
    assert bench.router._dispatcher.in_router == 0


def keep(outcome, number, ended_ns, clock):
    """Note when it ended."""
    inner = outcome.done._guard[0]

    def ended(reply, error):
        ended_ns[number] = clock.now_ns()
        inner(reply, error)

    outcome.done._guard[0] = ended


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([None, BadRequest, BadReply]), min_size=1, max_size=30))
def test_bad_requests_and_replies_are_never_sent_again(script):
    servers = [scripted(name, [(what, 0.01) for what in script]) for name in "ab"]
    bench = Bench(*servers)
    outcomes = bench.serve(len(script))
    assert sum(server.requests for server in servers) == len(outcomes)
    assert sum(server.retries for server in bench.statistics()) == 0
