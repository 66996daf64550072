from __future__ import annotations

import dataclasses
import pickle

import pytest

from evtfw.core.errors import (
    BadReply,
    BadRequest,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.external.contract import Backend, Recipe, TensorSpec
from evtfw.external.fallback import FallbackBackend, fallback
from evtfw.external.mock import MockBackend
from tests.external.conftest import ROWS, Outcome, rows, submit


def named(url, answer=lambda inputs: {"y": inputs["x"]}, description=ROWS, **options):
    return MockBackend(answer, description=description, url=url, **options)


def failing(url, error):
    def refuse(inputs):
        raise error

    return named(url, refuse)


class Unreachable(MockBackend):
    """Cannot be opened."""

    def __init__(self, url):
        super().__init__(description=ROWS, url=url)
        self.was_closed = False

    def open(self, context):
        raise ServerUnavailable("connection refused")

    def close(self):
        self.was_closed = True


def opened(context, *choices):
    backend = FallbackBackend(list(choices))
    backend.open(context)
    return backend


def test_it_is_a_value_that_a_configuration_can_write_and_dump():
    value = fallback("mock:a", None, "", fallback("mock:b", "mock:c"))
    assert repr(value) == "fallback('mock:a', fallback('mock:b', 'mock:c'))"
    assert eval(repr(value), {"fallback": fallback}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert len({value, fallback("mock:a", fallback("mock:b", "mock:c"))}) == 1
    assert isinstance(value, Recipe)
    backend = Backend.from_configuration(value)
    assert isinstance(backend, FallbackBackend)
    assert backend.url == repr(value)


def test_without_any_choice_it_says_what_to_write():
    with pytest.raises(ValueError, match="needs at least one backend"):
        fallback(None, "")


def test_a_choice_of_an_unknown_scheme_is_a_mistake_of_the_configuration():
    with pytest.raises(ValueError, match="no backend for scheme 'unheard'"):
        Backend.from_configuration(fallback("unheard://host/m", "mock:m"))


def test_with_one_choice_left_it_says_what_is_used(context, said):
    backend = Backend.from_configuration(fallback(None, "mock:m"))
    backend.open(context)
    assert said == ["using mock:m"]
    assert submit(backend, rows(1)).reply.provenance.fallback_reason == ""


def test_the_first_that_serves_answers(context, said):
    backend = opened(context, named("mock:a"), named("mock:b"))
    reply = submit(backend, rows(1)).reply
    assert (reply.provenance.backend, reply.provenance.attempts) == ("mock:a", 1)
    assert said == ["using mock:a, and if it fails mock:b"]


def test_who_cannot_be_reached_is_left_out_and_the_reason_recorded(context, said):
    dead = Unreachable("mock:dead")
    backend = opened(context, dead, named("mock:b"), named("mock:c"))
    assert said == [
        "cannot use mock:dead: connection refused; tried again from time to time",
        "using mock:b, and if it fails mock:c",
    ]
    reply = submit(backend, rows(4)).reply
    assert reply["y"].item() == 4
    assert reply.provenance.backend == "mock:b"
    assert reply.provenance.fallback_reason == "mock:dead: connection refused"
    assert reply.provenance.attempts == 1
    assert dead.was_closed


def test_a_later_choice_that_cannot_be_reached_is_no_reason(context):
    backend = opened(context, named("mock:a"), Unreachable("mock:dead"))
    assert submit(backend, rows(1)).reply.provenance.fallback_reason == ""


def test_if_nobody_can_be_reached_all_are_named(context):
    with pytest.raises(ServerUnavailable, match="mock:a: connection refused; mock:b: connection refused"):
        opened(context, Unreachable("mock:a"), Unreachable("mock:b"))


@pytest.mark.parametrize("error", [ServerUnavailable("gone"), BadReply("gone"), ExternalError("gone")])
def test_a_failed_request_goes_to_the_next_and_the_user_is_told_once(context, said, error):
    backend = opened(context, failing("mock:a", error), named("mock:b"))
    said.clear()
    for _ in range(3):
        reply = submit(backend, rows(1)).reply
        assert reply.provenance.backend == "mock:b"
        assert reply.provenance.attempts == 2
        assert reply.provenance.fallback_reason == "mock:a: gone"
    assert said == ["mock:a failed (gone); its requests go to mock:b"]


def test_when_all_fail_the_last_error_comes_back(context):
    backend = opened(context, failing("mock:a", ServerUnavailable("a")), failing("mock:b", ServerUnavailable("b")))
    assert str(submit(backend, rows(1)).error) == "b"


@pytest.mark.parametrize("error", [BadRequest("x"), Cancelled("x"), ValueError("x")])
def test_what_would_be_the_same_elsewhere_is_not_tried_again(context, error):
    second = named("mock:b", manual=True)
    backend = opened(context, failing("mock:a", error), second)
    assert submit(backend, rows(1)).error is error
    assert second.pending == []


def test_after_the_deadline_nobody_else_is_asked(context, clock):
    first, second = named("mock:a", manual=True), named("mock:b")
    backend = opened(context, first, second)
    late = submit(backend, rows(1), deadline_ns=1_000)
    early = submit(backend, rows(1), deadline_ns=10_000_000_000)
    clock.advance(1)
    first.pending[0].fail(DeadlineExceeded("late"))
    first.pending[0].fail(DeadlineExceeded("a timeout of its own"))
    assert isinstance(late.error, DeadlineExceeded)
    assert early.reply.provenance.backend == "mock:b"


def test_a_dropped_completion_goes_to_the_next(context):
    first = named("mock:a", manual=True)
    outcome = submit(opened(context, first, named("mock:b")), rows(1))
    first.pending[0].drop()
    assert "let go of the completion" in outcome.reply.provenance.fallback_reason


def test_giving_up_reaches_whoever_has_the_request(context):
    second = named("mock:b", manual=True)
    backend = opened(context, failing("mock:a", ServerUnavailable("gone")), second)
    outcome = Outcome()
    backend.submit(rows(1), outcome.done)
    outcome.done.cancel()
    assert second.pending[0].was_cancelled


def test_a_stand_in_with_other_tensors_is_refused(context):
    other = dataclasses.replace(ROWS, outputs=(TensorSpec("z", "float32", (None, 1)),))
    with pytest.raises(
        ConfigurationError, match=r"mock:b cannot stand in for mock:a: its outputs are z: .*, not y: float32 \[\?, 1\]"
    ):
        opened(context, named("mock:a"), named("mock:b", description=other))


def test_if_a_later_choice_is_a_mistake_the_earlier_are_closed(context):
    class Misspelt(Unreachable):
        def open(self, context):
            raise ConfigurationError("no such model")

    first, second = named("mock:a", manual=True), Misspelt("mock:b")
    with pytest.raises(ConfigurationError):
        opened(context, first, second)
    assert second.was_closed


def test_a_stand_in_with_another_checksum_is_told_and_recorded(context, said):
    other = dataclasses.replace(ROWS, sha256="def")
    backend = opened(context, failing("mock:a", ServerUnavailable("gone")), named("mock:b", description=other))
    assert "mock:b has another model file than mock:a (sha256 def, not abc)" in said[0]
    assert submit(backend, rows(1)).reply.provenance.sha256 == "def"


def test_before_opening_and_after_closing_it_fails(context):
    backend = FallbackBackend([named("mock:a"), named("mock:b")])
    assert "is not open" in str(submit(backend, rows(1)).error)
    with pytest.raises(ExternalError, match="not open"):
        backend.describe()
    backend.open(context)
    assert backend.describe() == ROWS
    backend.flush()
    backend.close()
    assert "is not open" in str(submit(backend, rows(1)).error)
