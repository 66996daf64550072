"""Rows 3, 4, 5, 8, 15: servers that hang, are slow, vanish, come and go, or answer too late."""

import time

import pytest

from evtfw.core.errors import DeadlineExceeded, ServerUnavailable
from evtfw.external.contract import Reply, inputs_of
from evtfw.external.fallback import fallback
from evtfw.external.mock import MockBackend
from tests.faults import lies
from tests.faults.conftest import double, local_double, url_of
from tests.faults.jobs import EVENTS, check_undisturbed, run_job
from tests.faults.liar import LiarProcess

SPARE_S = 5.0
"""How much longer than by the deadlines a job may take on a busy machine."""


def test_row_3_one_of_two_servers_hangs(other):
    with LiarProcess(hangs_at=4) as victim:
        outcome = run_job(url_of(victim, other), timeout_s=0.5)
    assert outcome.result.exit_code == 0
    assert outcome.result.fates["failed"] <= 4, "no more than were in flight"
    assert all(isinstance(failure.error, DeadlineExceeded) for failure in outcome.result.failures)
    assert outcome.result.wall_s < 2 * 0.5 + SPARE_S
    assert any(victim.address in line and "left alone" in line for line in outcome.said)


def test_row_3_the_only_server_hangs():
    with LiarProcess(hangs_at=4) as victim:
        outcome = run_job(victim.url(), timeout_s=0.3, on_error="rethrow")
    assert outcome.result.exit_code == 50
    assert isinstance(outcome.result.error, (DeadlineExceeded, ServerUnavailable))
    assert outcome.result.wall_s < 0.3 + SPARE_S


def test_row_3_the_only_server_hangs_and_the_fallback_answers():
    with LiarProcess(hangs_at=4) as victim:
        outcome = run_job(fallback(victim.url(options="attempt_timeout_s=0.2"), local_double()), timeout_s=10)
    check_undisturbed(outcome)


def test_row_4_slow_server_is_left_alone_and_the_other_serves(liar, other):
    liar.always = lies.Slow(0.8)
    outcome = run_job(url_of(liar, other), timeout_s=0.4)
    assert outcome.result.fates["failed"] <= 4
    assert all(isinstance(failure.error, DeadlineExceeded) for failure in outcome.result.failures)
    assert liar.requests < EVENTS / 2
    assert other.requests >= EVENTS / 2


def test_row_4_a_link_that_gets_slow_loses_nothing(proxied, liar, other):
    proxied.at(lambda: proxied.throttle(100, "reply"), requests=12)
    outcome = run_job(url_of(proxied, other, options="attempt_timeout_s=0.2"), timeout_s=10)
    check_undisturbed(outcome)
    assert other.requests > 0


def test_row_4_a_delay_that_the_deadline_allows_costs_nothing_but_time(proxied, liar):
    proxied.delay(0.01)
    outcome = run_job(url_of(proxied), events=EVENTS)
    check_undisturbed(outcome)
    assert outcome.said == []


def test_row_5_a_black_hole_meets_the_deadline(proxied, liar):
    proxied.at(proxied.drop, requests=15)
    started_s = time.perf_counter()
    outcome = run_job(url_of(proxied), timeout_s=0.3, on_error="rethrow")
    assert time.perf_counter() - started_s < 0.3 + SPARE_S
    assert outcome.result.exit_code == 50
    assert outcome.result.fates["written"] > 0
    assert outcome.result.fates["failed"] > 0
    assert isinstance(outcome.result.error, (DeadlineExceeded, ServerUnavailable))


@pytest.mark.parametrize("direction", ["request", "reply"])
def test_row_5_half_open_link_to_one_of_two_servers(proxied, liar, other, direction):
    proxied.at(lambda: proxied.drop(direction), requests=8)
    outcome = run_job(url_of(proxied, other), timeout_s=0.4)
    assert outcome.result.fates["failed"] <= 4
    assert outcome.result.fates["written"] > 0
    assert outcome.result.exit_code == 0


def test_row_8_flapping_server_loses_nothing_while_another_serves(proxied, liar, other):
    proxied.flap(up=1, down=2)
    for number in range(8, 200, 6):
        proxied.at(proxied.reset, requests=number)
    outcome = run_job(url_of(proxied, other), events=4 * EVENTS)
    check_undisturbed(outcome, 4 * EVENTS)
    assert liar.requests + other.requests < 2 * 4 * EVENTS, "retries are capped"
    assert sum(proxied.address in line for line in outcome.said) <= 4, "the user is told, not flooded"


def test_row_8_flapping_server_alone_ends_in_time_and_counts_are_exact(proxied, liar):
    for number in range(10, 400, 5):
        proxied.at(proxied.reset, requests=number)
    outcome = run_job(url_of(proxied), timeout_s=0.5)
    assert outcome.result.exit_code == 0
    assert outcome.result.wall_s < EVENTS / 4 * 0.6 + SPARE_S
    assert liar.requests < 5 * EVENTS, "retries are capped"
    assert len(outcome.said) <= 4, "the user is told, not flooded"


def test_row_15_a_reply_after_the_deadline_is_of_no_use(liar):
    liar.lies = {3: (late := lies.Late()), 5: lies.Then(late.release)}
    outcome = run_job(liar.url(options="retries=0"), streams=1, timeout_s=0.3)
    late.release()
    assert outcome.events("failed") == {3}
    assert isinstance(outcome.result.failures[0].error, DeadlineExceeded)


def test_row_15_a_reply_after_the_deadline_is_refused_and_counted():
    kept = []

    class Late(MockBackend):
        number = 0

        def submit(self, request, done):
            self.number += 1
            if self.number == 3:
                kept.append((self.reply_to(inputs_of(request)), done))
                return
            if self.number == 4:
                reply, late = kept.pop()
                assert isinstance(reply, Reply)
                assert not late.resolve(reply)
            super().submit(request, done)

    outcome = run_job(Late(double), streams=1, timeout_s=0.3)
    assert outcome.events("failed") == {3}
    assert outcome.result.refused_completions == 1
