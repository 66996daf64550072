"""Latency, limit, budget, hedging."""

from __future__ import annotations

import random

from evtfw.core.errors import BadRequest, ServerUnavailable
from evtfw.external.routing.budget import RetryBudget, back_off_s
from evtfw.external.routing.latency import Latency
from evtfw.external.routing.limit import HIGHEST, INITIAL, LOWEST, Limit
from tests.external.routing.bench import HANG, Bench, Server, failing

MS = 1_000_000


def test_quantiles_of_the_last_replies():
    latency = Latency()
    for number in range(19):
        latency.record(number, number)
    assert (latency.is_measured, latency.p95_ns) == (False, 0)
    for number in range(400):
        latency.record(number % 100 + 1, number)
    assert latency.is_measured
    assert 45 <= latency.p50_ns <= 70
    assert 93 <= latency.p95_ns <= 100


def replies(limit, count, taken_ns, in_flight=None):
    for _ in range(count):
        limit.succeeded(taken_ns, in_flight or limit.value)
    return limit.value


def test_a_limit_grows_while_replies_are_as_fast_as_ever():
    limit = Limit()
    assert replies(limit, 10, 10 * MS) == INITIAL
    assert replies(limit, 5000, 10 * MS) == HIGHEST


def test_a_limit_that_is_not_reached_stays():
    assert replies(Limit(), 1000, 10 * MS, in_flight=1) == INITIAL


def test_a_limit_falls_when_replies_take_longer_and_finds_the_capacity():
    """A server that works on 12 at a time, 10 ms each; more queue up there."""
    limit = Limit()
    replies(limit, 400, 10 * MS, in_flight=1)
    seen = []
    for _ in range(3000):
        replies(limit, 10, int(10 * MS * max(1.0, limit.value / 12)))
        seen.append(limit.value)
    assert sorted(seen[1000:])[200] >= 12  # but for the moments of measuring
    assert max(seen[1000:]) <= 30


def test_refusals_lower_it_by_a_tenth_and_never_below_one():
    limit = Limit(initial=100)
    limit.refused(0)
    limit.refused(0)
    assert limit.value == 90
    for number in range(200):
        limit.refused(number * 100 * MS)
    assert limit.value == LOWEST


def test_a_fixed_limit_stays():
    limit = Limit(3)
    limit.refused(0)
    assert replies(limit, 500, MS) == 3


def test_back_off_doubles_with_jitter_up_to_a_second():
    source = random.Random(1)
    for failures, full_s in ((1, 0.025), (2, 0.05), (3, 0.1), (20, 1.0)):
        pauses = [back_off_s(failures, source) for _ in range(100)]
        assert full_s / 2 <= min(pauses) < max(pauses) <= full_s
    assert back_off_s(1, source, is_overloaded=True) >= 0.05


def test_retries_are_a_tenth_of_the_requests_in_the_long_run():
    budget = RetryBudget(10)
    assert sum(budget.take(0) for _ in range(100)) == 10
    for _ in range(1000):
        budget.deposit()
    assert sum(budget.take(0) for _ in range(1000)) == 10  # it holds no more than a burst
    taken = 0
    for _ in range(1000):
        budget.deposit()
        taken += budget.take(0)
    assert 99 <= taken <= 101
    assert budget.take(10**9)


def test_retries_never_storm_but_wait_for_their_turn():
    """Half of the requests fail for a long time: all are answered in the end, with few retries at the same time."""
    servers = [Server(name, lambda number: (ServerUnavailable("x"), 0.0) if number % 2 else None) for name in "ab"]
    bench = Bench(*servers)
    outcomes = bench.serve(400, gap_s=0.01)
    bench.wait(40)
    assert sum(outcome.is_there for outcome in outcomes) == 400
    retries = sum(server.retries for server in bench.statistics())
    assert retries <= 10 + 0.1 * 400 + 2 * 45


def hedging(slow, **options):
    bench = Bench(Server("a", slow), Server("b"), hedge=True, **options)
    bench.serve(60)
    return bench


def test_a_second_server_is_asked_when_the_first_takes_longer_than_usual():
    bench = hedging(lambda number: (None, 5.0) if number == 25 else None)
    a, b = bench.statistics()
    assert (b.hedges, b.hedges_won, a.abandoned) == (1, 1, 1)
    assert a.ejections == 0
    assert bench.servers[0].cancelled == 1


def test_hedging_is_off_by_default():
    bench = Bench(Server("a", lambda number: HANG if number == 30 else None), Server("b"))
    bench.serve(60)
    assert sum(server.hedges for server in bench.statistics()) == 0


def test_hedges_take_from_the_budget():
    bench = hedging(lambda number: (None, 0.015) if number > 25 else None)
    bench.serve(2000, gap_s=0.001)
    assert sum(server.hedges for server in bench.statistics()) <= 10 + 0.1 * 2060 + 2 * 4


def test_if_the_hedge_fails_the_first_may_still_answer():
    bench = Bench(
        Server("a", lambda number: (None, 0.5) if number == 25 else None),
        Server("b", lambda number: (ServerUnavailable("x"), 0.0) if number == 26 else None),
        hedge=True,
    )
    outcomes = bench.serve(62)
    bench.wait(1)
    assert all(outcome.reply for outcome in outcomes)


def test_bad_requests_end_it_although_a_hedge_is_in_flight():
    bench = hedging(lambda number: (BadRequest("x"), 0.015) if number == 25 else None)
    bench.wait(1)
    assert sum(server.in_flight for server in bench.statistics()) == 0


def test_a_failing_server_that_is_fast_does_not_attract_requests():
    bench = Bench(Server("a", failing()), Server("b", delay_s=0.1))
    outcomes = bench.serve(100)
    bench.wait(1)
    assert all(outcome.reply for outcome in outcomes)
    assert bench.statistics()[0].requests < 15
