from __future__ import annotations

import itertools
import random

import pytest

from evtfw.core.errors import ServerUnavailable
from evtfw.external.errors import ModelNotFound
from evtfw.external.routing.breaker import Breaker, State
from tests.external.routing.bench import HANG, Bench, Server, failing


def test_three_failures_in_a_row_open_it_for_a_time_that_doubles():
    breaker = Breaker(random.Random(1))
    assert [breaker.failed(0, "x", sent_ns=0) for _ in range(3)] == [False, False, True]
    opened_s, now_ns = [], 0
    for _ in range(12):
        opened_s.append((breaker.until_ns - now_ns) * 1e-9)
        now_ns = breaker.until_ns
        assert breaker.is_probe_due(now_ns)
        breaker.probe()
        assert not breaker.failed(now_ns, "x", sent_ns=now_ns)
    assert 0.075 <= opened_s[0] <= 0.125
    assert all(longer / shorter >= 1.2 for shorter, longer in itertools.pairwise(opened_s[:6]))
    assert max(opened_s) <= 37.5
    assert opened_s[-1] >= 22.5


def test_failures_that_are_not_in_a_row_do_not_open_it():
    breaker = Breaker(random.Random(1))
    for _ in range(10):
        assert not breaker.failed(0, "x", sent_ns=0)
        assert not breaker.failed(0, "x", sent_ns=0)
        breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_what_fails_together_counts_once():
    bench = Bench(Server("a", lambda number: (ServerUnavailable("reset"), 0.05) if number < 8 else None), streams=8)
    outcomes = [bench.submit() for _ in range(8)]
    bench.wait(1)
    assert all(outcome.reply for outcome in outcomes)
    assert bench.statistics()[0].ejections == 0
    assert bench.said == []


def test_a_dead_server_is_tried_with_single_requests_and_returns_once():
    dead = Server("a", failing(until=6))
    bench = Bench(dead, Server("b"))
    outcomes = bench.serve(500)
    assert all(outcome.reply for outcome in outcomes)
    assert [line.split(" ")[1] for line in bench.said] == ["fails", "serves"]
    assert bench.said[1] == "sim://a/rows serves again"
    assert bench.statistics()[0].ejections == 1
    assert bench.statistics()[0].state == "serving"
    assert dead.requests > 200


def test_a_model_that_is_gone_is_enough():
    bench = Bench(Server("a", failing(ModelNotFound)), Server("b"))
    bench.serve(5, gap_s=0.001)
    assert bench.statistics()[0].requests == 1


def test_a_flapping_server_is_mentioned_in_few_lines():
    flapping = Server("a", lambda number: None if number % 7 < 2 else (ServerUnavailable("gone"), 0.0))
    bench = Bench(flapping, Server("b"))
    outcomes = bench.serve(5000)
    assert all(outcome.reply for outcome in outcomes)
    bench.router.close()
    assert bench.statistics()[0].ejections >= 3
    assert len(bench.said) <= 12
    retries = sum(server.retries for server in bench.statistics())
    assert retries <= 0.2 * 5000


def test_when_nobody_serves_requests_wait_for_a_while_and_then_fail_at_once():
    bench = Bench(Server("a", failing()), Server("b", failing()))
    for first in [bench.submit() for _ in range(4)]:
        assert first.is_there or bench.until(first) <= 1.0
        assert isinstance(first.error, ServerUnavailable)
        assert "sim://a/rows: gone" in str(first.error)
        assert "sim://b/rows: gone" in str(first.error)
    assert bench.clock.now_ns() <= 1e9
    for _ in range(50):
        later = bench.submit()
        assert later.is_there or bench.until(later) == pytest.approx(0.0)
        assert isinstance(later.error, ServerUnavailable)
        bench.wait(0.01)


def test_the_wait_leaves_a_fifth_of_the_deadline():
    bench = Bench(Server("a", failing()), wait_s=100.0)
    outcome = bench.submit(timeout_s=10)
    assert bench.until(outcome) == pytest.approx(8)
    assert isinstance(outcome.error, ServerUnavailable)


def test_a_restart_within_the_wait_loses_nothing():
    server = Server(
        "a", lambda number: (ServerUnavailable("gone"), 0.0) if 0.1e9 < bench.clock.now_ns() < 3e9 else None
    )
    bench = Bench(server, wait_s=10.0)
    outcomes = bench.serve(200, gap_s=0.01)
    bench.wait(30)
    assert all(outcome.reply for outcome in outcomes)


def test_a_probe_that_was_given_up_is_made_again():
    behaviour = [ServerUnavailable("gone")] * 3 + [HANG]
    server = Server("a", lambda number: (behaviour[number], 0.0) if number < 4 else None)
    bench = Bench(server, Server("b"))
    bench.serve(6, gap_s=0.001)
    bench.wait(1)
    probe = bench.submit()
    assert server.in_flight == 1
    probe_done = server.kept[0].done
    probe_done.call.cancel()
    outcome = bench.submit()
    assert bench.until(outcome) == pytest.approx(0.01)
    assert outcome.reply.provenance.backend == "sim://a/rows"
    assert not probe.is_there
