"""Rows 11 to 14, 18, 19: replies that do not fit, of another request, of another model, and requests too large."""

import grpc
import pytest

from evtfw.core.errors import BadReply, BadRequest, ServerUnavailable
from evtfw.external.fallback import fallback
from tests.faults import lies
from tests.faults.conftest import local_double, url_of
from tests.faults.jobs import EVENTS, check_undisturbed, run_job
from tests.faults.liar import Liar

AT = 3


def check_only_one_failed(outcome, liar, error, text):
    """The event of the bad reply failed, with this message; no request was repeated."""
    assert outcome.events("failed") == {AT}
    [failure] = outcome.result.failures
    assert isinstance(failure.error, error)
    assert text in str(failure.error)
    assert f"module 'ask' (Ask) failed in produce, event 1:1:{AT}" in str(failure.error)
    assert liar.requests == EVENTS


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        (lies.wrong_shape, "output 'y': expected float32 [?, 4], got float32 [3, 3]"),
        (lies.wrong_rows, "4 rows instead of the 3"),
        (lies.wrong_dtype, "output 'y': expected float32 [?, 4], got float64 [3, 4]"),
        (lies.wrong_name, "no output 'z'"),
        (lies.no_output, "output 'y: float32 [?, 4]' is missing"),
    ],
)
def test_row_11_a_reply_that_does_not_fit(liar, lie, text):
    liar.lies = {AT: lie}
    check_only_one_failed(run_job(liar.url(), streams=1), liar, BadReply, text)


@pytest.mark.parametrize("lie", [lies.truncated, lies.padded])
def test_row_12_wrong_number_of_bytes(liar, lie):
    liar.lies = {AT: lie}
    check_only_one_failed(run_job(liar.url(), streams=1), liar, BadReply, "bytes")


def test_row_13_a_reply_with_the_id_of_another_request(liar):
    liar.lies = {AT: lies.wrong_id}
    check_only_one_failed(run_job(liar.url(), streams=1), liar, BadReply, "somebody-else")


def test_row_13_two_replies_swapped(liar):
    swap = lies.Swap()
    liar.lies = {1: swap, 2: swap}
    outcome = run_job(liar.url(options="max_batch=3"), threads=2, streams=2)
    assert len(outcome.events("failed")) in (1, 2)
    assert all(isinstance(failure.error, BadReply) for failure in outcome.result.failures)


def test_row_11_the_job_ends_unless_told_to_continue(liar):
    liar.lies = {AT: lies.wrong_dtype}
    outcome = run_job(liar.url(), streams=1, on_error="rethrow")
    assert outcome.result.exit_code == 50
    assert outcome.events("failed") == {AT}


@pytest.mark.parametrize("lie", [lies.wrong_shape, lies.truncated, lies.wrong_id, lies.not_a_number, lies.infinite])
def test_rows_11_to_14_the_fallback_answers_instead(liar, lie):
    liar.lies = {AT: lie}
    outcome = run_job(fallback(liar.url(), local_double()), streams=1)
    check_undisturbed(outcome)
    assert outcome.replies[AT].provenance.fallback_reason
    assert not outcome.replies[AT + 1].provenance.fallback_reason


@pytest.mark.parametrize("lie", [lies.not_a_number, lies.infinite])
def test_row_14_numbers_that_are_none_from_a_server(liar, lie):
    liar.lies = {AT: lie}
    check_only_one_failed(run_job(liar.url(), streams=1), liar, BadReply, "NaN or infinity in y")


def test_row_14_flagged(liar):
    liar.lies = {AT: lies.not_a_number}
    outcome = run_job(liar.url(options="nonfinite=flag"), streams=1, is_spoiled=True)
    assert outcome.result.fates["failed"] == 0
    assert {number for number, reply in outcome.replies.items() if reply.nonfinite} == {AT}


def test_row_18_a_stand_in_with_another_checksum_is_told_and_recorded():
    def refuse(inputs):
        raise ServerUnavailable("gone")

    first = local_double(refuse, sha256="a" * 64, url="mock:first")
    second = local_double(sha256="b" * 64, url="mock:second")
    outcome = run_job(fallback(first, second))
    check_undisturbed(outcome)
    assert any("another model file" in line for line in outcome.said)
    assert {reply.provenance.sha256 for reply in outcome.replies.values()} == {"b" * 64}


def test_row_18_a_server_with_another_checksum_than_asked_for_is_refused(liar, other):
    liar.sha256, other.sha256 = "a" * 64, "b" * 64
    outcome = run_job(liar.url(options=f"sha256={'b' * 64}"))
    assert outcome.result.exit_code == 50
    assert "a" * 64 in str(outcome.result.error)
    assert "b" * 64 in str(outcome.result.error)
    check_undisturbed(run_job(other.url(options=f"sha256={'b' * 64}")))


@pytest.mark.parametrize("lie", [lies.overloaded, lies.unavailable, lies.cancelled])
def test_a_refusal_is_tried_again_within_the_deadline(liar, lie):
    liar.lies = {AT: lie}
    outcome = run_job(liar.url(), streams=1)
    check_undisturbed(outcome)
    assert liar.requests == EVENTS + 1
    assert outcome.replies[AT].provenance.attempts == 2


@pytest.mark.parametrize("lie", [lies.invalid, lies.refuses(grpc.StatusCode.INTERNAL, "broken")])
def test_what_would_be_the_same_again_is_not_tried_again(liar, lie):
    liar.lies = {AT: lie}
    outcome = run_job(liar.url(), streams=1)
    assert outcome.events("failed") == {AT}
    assert liar.requests == EVENTS


def test_an_oversized_reply_fails_its_event_only(liar):
    liar.lies = {AT: lies.oversized}
    outcome = run_job(liar.url(options="max_message_bytes=1000000"), streams=1)
    check_only_one_failed(outcome, liar, BadReply, "larger than max_message_bytes allows")


def test_row_19_a_request_above_the_limit_fails_before_it_is_sent(liar):
    outcome = run_job(liar.url(options="max_message_bytes=600"), streams=1, large=AT)
    assert outcome.events("failed") == {AT}
    assert isinstance(outcome.result.failures[0].error, BadRequest)
    assert "max_message_bytes" in outcome.errors[0]
    assert liar.requests == EVENTS - 1


def test_row_19_a_request_above_a_limit_that_only_the_server_knows():
    with Liar(limit_bytes=600) as liar:
        outcome = run_job(liar.url(), streams=1, large=AT)
    assert outcome.events("failed") == {AT}
    assert isinstance(outcome.result.failures[0].error, BadRequest)
    assert "larger than the other side takes" in outcome.errors[0]


def test_no_server_address_is_forgotten(liar, other):
    check_undisturbed(run_job(url_of(liar, other)))
    assert liar.requests > 0
    assert other.requests > 0
