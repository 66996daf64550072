from __future__ import annotations

import dataclasses
import threading

import pytest

from evtfw.core.errors import (
    BadReply,
    BadRequest,
    Cancelled,
    CompletionDropped,
    ConfigurationError,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.external.contract import Request, TensorSpec
from evtfw.external.errors import AccessDenied, ModelNotFound, Overloaded
from evtfw.external.routing.budget import RetryBudget
from tests.external.conftest import ROWS, Outcome, rows
from tests.external.routing.bench import DROP, HANG, TWICE, Bench, Server, failing

# At the start


def test_all_servers_are_opened_at_the_same_time():
    together = threading.Barrier(3)

    class Slow(Server):
        def open(self, context):
            together.wait(timeout=30)
            super().open(context)

    Bench(Slow("a"), Slow("b"), Slow("c"))


def test_who_cannot_be_reached_is_left_out_with_one_message():
    bench = Bench(Server("a", open_error=ServerUnavailable("refused")), Server("b"))
    assert bench.said == ["cannot use sim://a/rows: refused; tried again from time to time"]
    outcome = bench.submit()
    bench.wait(0.1)
    assert outcome.reply.provenance.backend == "sim://b/rows"
    assert bench.statistics()[0].state == "not reached yet"
    bench.router.close()


def test_if_none_can_be_reached_all_are_named_with_their_reasons():
    servers = [Server(name, open_error=ServerUnavailable(f"reason {name}")) for name in "ab"]
    with pytest.raises(ServerUnavailable, match="sim://a/rows: reason a; sim://b/rows: reason b"):
        Bench(*servers)
    assert all(server.closed for server in servers)


def test_a_mistake_of_the_configuration_is_no_server_to_leave_out():
    good = Server("a")
    with pytest.raises(ConfigurationError, match="no such model"):
        Bench(good, Server("b", open_error=ConfigurationError("no such model")))
    assert good.closed


def test_servers_of_different_models_are_refused():
    other = dataclasses.replace(ROWS, outputs=(TensorSpec("z", "float32", (None, 1)),))
    with pytest.raises(ConfigurationError, match="sim://b/rows cannot stand in for sim://a/rows"):
        Bench(Server("a"), Server("b", description=other))


def test_another_checksum_is_told():
    bench = Bench(Server("a"), Server("b", description=dataclasses.replace(ROWS, sha256="def")))
    assert "sim://b/rows has another model file" in bench.said[0]


def test_the_smallest_batch_limit_holds_for_all():
    sizes = [Server(str(size), description=dataclasses.replace(ROWS, max_batch_size=size)) for size in (16, 8)]
    assert Bench(*sizes).router.describe().max_batch_size == 8


def test_before_opening_and_after_closing_it_fails():
    bench = Bench(Server("a", HANG))
    waiting = bench.submit()
    bench.router.close()
    assert "was closed" in str(waiting.error)
    assert "is not open" in str(bench.submit().error)
    bench.router.open(bench.context)
    assert bench.statistics()[0].requests == 0


# Choice and limits


def test_the_faster_server_gets_more():
    bench = Bench(Server("slow", delay_s=0.04), Server("fast", delay_s=0.01))
    outcomes = [outcome for _ in range(200) for outcome in [bench.submit(), bench.wait(0.004)] if outcome]
    bench.wait(1)
    assert all(outcome.reply for outcome in outcomes)
    slow, fast = (server.requests for server in bench.statistics())
    assert fast > 2 * slow > 0


def test_equal_servers_share_equally():
    bench = Bench(Server("a"), Server("b"))
    bench.serve(100)
    assert [server.requests for server in bench.statistics()] == [50, 50]


def test_what_exceeds_the_limit_waits_in_order_of_priority_and_arrival():
    server = Server("a")
    bench = Bench(server, limit=1)
    ended = []
    for name, priority in (("first", 0), ("second", 0), ("urgent", 5), ("third", 0)):
        outcome = Outcome()
        outcome.done._guard[:] = [lambda reply, error, name=name: ended.append((name, reply.times.queue_ns))]
        done, outcome.done = outcome.done, None
        bench.router.submit(Request(rows(1), priority=priority), done)
        del done
    bench.wait(1)
    assert ended == [("first", 0), ("urgent", 10_000_000), ("second", 20_000_000), ("third", 30_000_000)]
    assert server.most_in_flight == 1


def test_slots_are_the_sum_of_the_limits():
    assert Bench(Server("a"), Server("b"), limit=3).router.slots == 6


def test_a_request_that_waits_ends_at_its_deadline():
    bench = Bench(Server("a", HANG), limit=1)
    bench.submit(timeout_s=5)
    waiting = bench.submit(timeout_s=2)
    assert bench.until(waiting) == pytest.approx(2)
    assert isinstance(waiting.error, DeadlineExceeded)
    assert "waiting for its turn" in str(waiting.error)


# Failures


@pytest.mark.parametrize("error", [ServerUnavailable, Overloaded, ModelNotFound])
def test_what_another_server_may_do_goes_there_at_once(error):
    bench = Bench(Server("a", failing(error)), Server("b"))
    outcome = bench.submit()
    assert bench.until(outcome) == pytest.approx(0.01)
    assert outcome.reply.provenance.backend == "sim://b/rows"
    assert outcome.reply.provenance.attempts == 2
    a, b = bench.statistics()
    assert (a.failures, b.retries) == ({error.__name__: 1}, 1)


@pytest.mark.parametrize("error", [BadRequest, BadReply, AccessDenied, ExternalError, ValueError])
def test_what_would_be_the_same_elsewhere_is_not_sent_again(error):
    servers = [Server("a", failing(error)), Server("b", failing(error))]
    bench = Bench(*servers)
    outcomes = bench.serve(20)
    assert all(isinstance(outcome.error, error) for outcome in outcomes)
    assert sum(server.requests for server in servers) == 20
    assert [server.ejections for server in bench.statistics()] == [0, 0]


def test_what_a_server_gives_up_when_it_shuts_down_goes_elsewhere():
    bench = Bench(Server("a", failing(Cancelled)), Server("b"))
    outcome = bench.submit()
    bench.until(outcome)
    assert outcome.reply.provenance.backend == "sim://b/rows"
    assert bench.statistics()[0].failures == {"ServerUnavailable": 1}


def test_a_dropped_completion_ends_the_request():
    bench = Bench(Server("a", DROP))
    assert isinstance(bench.submit().error, CompletionDropped)
    assert bench.statistics()[0].in_flight == 0


def test_a_backend_that_raises_ends_the_request():
    bench = Bench(Server("a", lambda number: 1 / 0))
    assert isinstance(bench.submit().error, ZeroDivisionError)


def test_a_single_server_that_fails_once_is_asked_again_after_a_pause():
    server = Server("a", failing(until=1))
    bench = Bench(server)
    outcome = bench.submit()
    assert 0.0125 <= bench.until(outcome) - 0.01 <= 0.025
    assert outcome.reply.provenance.attempts == 2


def test_an_overloaded_server_gets_a_longer_pause_and_fewer_requests():
    bench = Bench(Server("a", failing(Overloaded, until=1)))
    outcome = bench.submit()
    assert 0.05 <= bench.until(outcome) - 0.01 <= 0.1
    assert bench.statistics()[0].limit == 7
    assert bench.statistics()[0].ejections == 0


def test_after_so_many_retries_it_fails_with_all_reasons():
    servers = [Server("a", failing(Overloaded)), Server("b", failing(Overloaded))]
    bench = Bench(*servers, retries=2)
    outcome = bench.submit()
    bench.wait(5)
    assert isinstance(outcome.error, Overloaded)
    assert "no reply after 3 attempts: sim://a/rows: gone; sim://b/rows: gone" in str(outcome.error)
    assert sum(server.requests for server in servers) == 3


def test_a_retry_that_could_not_end_in_time_is_not_made():
    server = Server("a", failing(Overloaded))
    outcome = Bench(server).submit(timeout_s=0.04)
    assert server.requests == 1
    assert not outcome.is_there  # the failure itself is on its way


def test_late_and_double_replies_are_discarded_and_counted():
    bench = Bench(Server("a", lambda number: TWICE if number == 0 else (None, 9.0)), retries=0)
    first = bench.submit()
    bench.wait(1)
    late = bench.submit(timeout_s=3)
    assert bench.until(late) == pytest.approx(2.25)
    bench.wait(20)
    assert (first.times_ended, late.times_ended) == (1, 1)
    assert bench.statistics()[0].late_replies == 2


def test_giving_up_reaches_the_server_and_frees_the_place():
    server = Server("a", HANG)
    bench = Bench(server)
    outcome = Outcome()
    bench.router.submit(rows(1), outcome.done)
    outcome.done.cancel()
    assert server.cancelled == 1
    assert (bench.statistics()[0].in_flight, bench.statistics()[0].abandoned) == (0, 1)


# Time limits and failover


def test_a_dead_server_costs_less_than_a_second():
    dead = Server("a", lambda number: None if number < 50 else (ServerUnavailable("gone"), 0.0))
    bench = Bench(dead, Server("b"))
    healthy = Bench(Server("a"), Server("b"))
    times = []
    for each in (bench, healthy):
        start_ns = each.clock.now_ns()
        for outcome in each.serve(400, gap_s=0.005):
            each.until(outcome) if not outcome.is_there else None
            assert outcome.reply
        times.append((each.clock.now_ns() - start_ns) * 1e-9)
    assert times[0] - times[1] <= 1.0
    assert bench.said[0].startswith(
        "sim://a/rows fails and is left alone for a while (gone); its requests go to sim://b"
    )
    assert dead.requests < 75


def test_all_in_flight_go_elsewhere_when_a_server_dies():
    bench = Bench(Server("a", lambda number: (ServerUnavailable("killed"), 0.05)), Server("b"), limit=32, streams=64)
    outcomes = [bench.submit() for _ in range(64)]
    assert max(bench.until(outcome) if not outcome.is_there else 0.0 for outcome in outcomes) <= 1.0
    assert all(outcome.reply.provenance.backend == "sim://b/rows" for outcome in outcomes)


@pytest.mark.parametrize("measured", [0, 100])
def test_a_server_that_hangs_uses_a_part_of_the_deadline_only(measured):
    bench = Bench(Server("a", lambda number: HANG if number >= measured else None), Server("b"))
    bench.serve(2 * measured)
    outcomes = [bench.submit(timeout_s=10) for _ in range(4)]
    taken_s = max([bench.until(outcome) for outcome in outcomes if not outcome.is_there])
    assert taken_s <= (1.1 if measured else 5.1)
    assert {outcome.reply.provenance.backend for outcome in outcomes} == {"sim://b/rows"}
    assert bench.statistics()[0].ejections == 1


def test_the_only_server_that_hangs_leaves_time_for_a_fallback():
    bench = Bench(Server("a", HANG))
    outcome = bench.submit(timeout_s=10)
    assert bench.until(outcome) <= 8.5
    assert isinstance(outcome.error, ServerUnavailable)
    again = bench.submit(timeout_s=10)
    assert bench.until(again) <= 8.5
    assert "no server is left: sim://a/rows: no reply within 7.5 s" in str(again.error)


def test_a_short_deadline_is_given_wholly_to_the_only_server():
    server = Server("a", delay_s=0.09)
    bench = Bench(server)
    outcome = bench.submit(timeout_s=0.1)
    assert bench.until(outcome) == pytest.approx(0.09)
    assert outcome.reply


def test_a_request_that_was_sent_shortly_before_its_deadline_says_nothing_about_the_server():
    bench = Bench(Server("a"))
    bench.serve(10)
    outcomes = [bench.submit(timeout_s=0.001) for _ in range(5)]
    bench.wait(1)
    assert all(isinstance(outcome.error, DeadlineExceeded) for outcome in outcomes)
    assert (bench.statistics()[0].ejections, bench.statistics()[0].state) == (0, "serving")


def test_what_is_past_its_deadline_is_not_sent_when_a_place_gets_free_at_that_moment():
    server = Server("a", delay_s=0.5)
    bench = Bench(server, limit=1)
    first, late = bench.submit(), bench.submit(timeout_s=0.5)
    bench.wait(1)
    assert first.reply
    assert isinstance(late.error, DeadlineExceeded)
    assert server.requests == bench.statistics()[0].requests == 1


def test_a_time_limit_for_each_attempt_can_be_given():
    servers = Server("a", HANG), Server("b")
    bench = Bench(*servers, attempt_timeout_s=0.2)
    assert bench.until(bench.submit()) == pytest.approx(0.21)
    assert servers[0].deadlines_ns == [200_000_000]


def test_a_server_that_was_slow_and_then_hangs_is_found_out_by_attempts_with_little_time():
    bench = Bench(Server("a", lambda number: HANG if number >= 3 else (None, 0.15)), attempt_timeout_s=0.2)
    assert all(outcome.reply for outcome in bench.serve(3, gap_s=0.2))
    outcomes = [bench.submit(timeout_s=10) for _ in range(8)]
    assert max(bench.until(outcome) for outcome in outcomes if not outcome.is_there) < 2
    assert all(isinstance(outcome.error, ServerUnavailable) for outcome in outcomes)
    assert bench.statistics()[0].ejections == 1


def test_a_request_that_may_not_be_sent_again_leaves_time_for_a_fallback():
    bench = Bench(Server("a", lambda number: (ServerUnavailable("gone"), 0.0) if number == 1 else None))
    bench.router._dispatcher._budget = RetryBudget(0.0)
    assert bench.serve(1)[0].reply
    outcome = bench.submit(timeout_s=10)
    assert 7 < bench.until(outcome) < 8.5
    assert isinstance(outcome.error, ServerUnavailable)


def test_without_a_deadline_it_waits():
    bench = Bench(Server("a", delay_s=500))
    assert bench.until(bench.submit(timeout_s=None)) == pytest.approx(500)
