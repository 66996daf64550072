"""Rows 1, 2, 6, 7, 9, 10: servers that die, refuse, restart, or lose their model."""

import numpy as np
import pytest

from evtfw import Job, Path, Process
from evtfw.core.errors import ServerUnavailable
from evtfw.external.fallback import fallback
from evtfw.modules import TopTagger
from evtfw.testing import ListSource
from tests.faults import lies
from tests.faults.conftest import local_double, url_of
from tests.faults.jobs import EVENTS, check_undisturbed, run_job
from tests.faults.liar import LiarProcess
from tests.faults.proxy import reserved_port


def test_row_1_killed_in_the_middle_of_a_request_another_server_answers(other):
    with LiarProcess(dies_at=5) as victim:
        outcome = run_job(url_of(victim, other))
    check_undisturbed(outcome)
    servers = {reply.provenance.server for reply in outcome.replies.values()}
    assert servers == {victim.address, other.address}
    assert max(reply.provenance.attempts for reply in outcome.replies.values()) > 1


def test_row_1_killed_in_the_middle_of_a_request_the_fallback_answers():
    with LiarProcess(dies_at=5) as victim:
        outcome = run_job(fallback(victim.url(options="retries=0"), local_double()), streams=1)
    check_undisturbed(outcome)
    reasons = [reply.provenance.fallback_reason for reply in outcome.replies.values()]
    assert "" in reasons
    assert any(victim.address in reason for reason in reasons)
    [line] = [line for line in outcome.said if "its requests go to mock:double" in line]
    assert victim.address in line


@pytest.mark.parametrize("on_error", ["continue", "rethrow"])
def test_row_2_all_servers_die_and_there_is_no_fallback(on_error):
    with LiarProcess(dies_at=4) as one, LiarProcess(dies_at=4) as two:
        outcome = run_job(url_of(one, two), timeout_s=0.6, on_error=on_error)
    assert outcome.result.fates["failed"] > 0
    assert outcome.result.exit_code == (0 if on_error == "continue" else 50)
    assert all(isinstance(failure.error, ServerUnavailable) for failure in outcome.result.failures)
    assert any(one.address in error and two.address in error for error in outcome.errors)


def test_row_1_the_shipped_module_when_a_server_refuses(liar, other):
    images = [np.full((1 + n % 2, 64, 64, 1), n * 1e-4, np.float32) for n in range(12)]
    process = Process("TAG")
    process.source = ListSource.of([{"images": image} for image in images])
    process.toptag = TopTagger(images="source:images", backend=url_of(liar, other, model="toptag"))
    process.path = Path(process.toptag)
    liar.lies = {2: lies.unavailable, 4: lies.cancelled}
    result = Job(process).run()
    assert result.exit_code == 0
    assert result.fates["passed"] == result.events_read == 12
    assert liar.requests + other.requests > 0


def test_row_2_no_server_at_the_start():
    with reserved_port() as one, reserved_port() as two:
        addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in (one, two)]
        outcome = run_job(f"triton+grpc://{','.join(addresses)}/double?connect_timeout_s=1")
    assert outcome.result.exit_code == 50
    assert isinstance(outcome.result.error, ServerUnavailable)
    assert all(address in str(outcome.result.error) for address in addresses)
    assert outcome.values == {}


def test_row_6_reset_connections_are_made_again(proxied, liar):
    for number in (8, 14):
        proxied.at(proxied.reset, requests=number)
    check_undisturbed(run_job(url_of(proxied)))
    assert proxied.connections >= 2


def test_row_6_cut_in_the_middle_of_a_reply(proxied, liar):
    proxied.at(proxied.cut, reply_bytes=1500)
    check_undisturbed(run_job(url_of(proxied)))
    assert proxied.connections == 2


def test_row_6_goaway(liar):
    liar.lies = {7: lies.Then(liar.replace)}
    outcome = run_job(liar.url())
    check_undisturbed(outcome)
    assert outcome.said == []


def test_row_7_wrong_port_is_told_at_the_start_with_the_url():
    with reserved_port() as port:
        url = f"triton+grpc://127.0.0.1:{port.getsockname()[1]}/double?connect_timeout_s=1"
        outcome = run_job(url)
    assert outcome.result.exit_code == 50
    assert url.partition("?")[0] in str(outcome.result.error)
    assert outcome.result.fates["written"] == 0


def test_row_7_wrong_host_is_told_at_the_start_with_the_url():
    outcome = run_job("triton+grpc://no-such-host.invalid:8001/double?connect_timeout_s=1")
    assert outcome.result.exit_code == 50
    assert "triton+grpc://no-such-host.invalid:8001/double" in str(outcome.result.error)


def test_row_7_one_wrong_server_of_two_is_told_and_left_out(liar):
    with reserved_port() as port:
        address = f"127.0.0.1:{port.getsockname()[1]}"
        outcome = run_job(f"triton+grpc://{address},{liar.address}/double?connect_timeout_s=1")
    check_undisturbed(outcome)
    assert any(address in line for line in outcome.said)


def test_row_9_servers_replaced_one_after_the_other_are_not_even_noticed(liar, other):
    liar.lies = {3: lies.Then(liar.replace)}
    other.lies = {9: lies.Then(other.replace)}
    outcome = run_job(url_of(liar, other), events=3 * EVENTS)
    check_undisturbed(outcome, 3 * EVENTS)
    assert other.requests >= 9
    assert outcome.said == []


def test_row_9_rolling_restart_loses_nothing(liar, other):
    liar.always = other.always = lies.Slow(0.01)
    liar.lies = {5: lies.Then(liar.leave), 12: lies.Then(other.leave), 16: lies.Then(other.start)}
    other.lies = {10: lies.Then(liar.start)}
    outcome = run_job(url_of(liar, other), events=15 * EVENTS)
    check_undisturbed(outcome, 15 * EVENTS)
    assert liar.requests > 16, "it is used again"


def test_row_10_the_model_is_unloaded_and_the_fallback_answers(liar):
    liar.lies = {6: lies.Then(lambda: liar.unload("double"))}
    outcome = run_job(fallback(liar.url(), local_double()), streams=1)
    check_undisturbed(outcome)
    reasons = [reply.provenance.fallback_reason for reply in outcome.replies.values()]
    assert any("'double' is not found" in reason for reason in reasons)
    assert sum("its requests go to mock:double" in line for line in outcome.said) == 1


def test_row_10_the_model_is_unloaded_on_one_of_two_servers(liar, other):
    liar.lies = {3: lies.Then(lambda: liar.unload("double"))}
    outcome = run_job(url_of(liar, other))
    check_undisturbed(outcome)
    assert other.requests > 3


def test_row_10_the_model_is_unloaded_and_there_is_nobody_else(liar):
    liar.lies = {6: lies.Then(lambda: liar.unload("double"))}
    outcome = run_job(liar.url(), streams=1, on_error="rethrow", timeout_s=0.6)
    assert outcome.result.exit_code == 50
    assert isinstance(outcome.result.failures[0].error, ServerUnavailable)
    assert "'double' is not found" in outcome.errors[0]
    assert outcome.result.fates["written"] + outcome.result.fates["filtered"] == 6
