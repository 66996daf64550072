from __future__ import annotations

import gc

import numpy as np
import pytest

from evtfw.core.errors import (
    BadReply,
    BadRequest,
    CompletionDropped,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.external.contract import Request
from evtfw.external.mock import MockBackend
from evtfw.external.urls import make_backend
from tests.external.conftest import ROWS, Outcome, rows, submit


def test_it_answers_inside_submit():
    backend = MockBackend(lambda inputs: {"y": inputs["x"] + 1}, description=ROWS)
    outcome = submit(backend, rows(1, 2))
    assert outcome.is_there
    assert outcome.reply["y"].tolist() == [[2], [3]]
    assert outcome.reply.provenance.model == "rows"
    assert outcome.reply.provenance.sha256 == "abc"


def test_without_a_description_it_echoes_anything():
    outcome = submit(MockBackend(), Request({"x": np.arange(3)}, priority=1))
    assert outcome.reply["x"].tolist() == [0, 1, 2]


def test_wrong_requests_and_wrong_replies_fail():
    assert isinstance(submit(MockBackend(description=ROWS), {"z": np.zeros(1)}).error, BadRequest)
    assert isinstance(submit(MockBackend(description=ROWS), rows(1)).error, BadReply)  # echoes x where y is due


def test_what_the_function_raises_fails_the_request():
    def refuse(inputs):
        raise ServerUnavailable("no")

    assert isinstance(submit(MockBackend(refuse), rows(1)).error, ServerUnavailable)


def test_by_hand_in_any_order():
    backend = MockBackend(lambda inputs: {"y": -inputs["x"]}, description=ROWS, manual=True)
    first, second, third = (submit(backend, rows(i)) for i in range(3))
    assert not first.is_there
    backend.pending[2].resolve()
    backend.pending[0].resolve({"y": np.array([[7.0]])})
    backend.pending[0].fail(DeadlineExceeded("late"))
    assert third.reply["y"].tolist() == [[-2]]
    assert first.reply["y"].tolist() == [[7]]
    assert isinstance(second.error, DeadlineExceeded)
    assert backend.pending == []


def test_by_hand_a_completion_can_be_dropped():
    backend = MockBackend(manual=True)
    outcome = submit(backend, rows(1), name="toptag in event 1:2:3")
    backend.pending[0].drop()
    gc.collect()
    assert isinstance(outcome.error, CompletionDropped)
    assert "toptag in event 1:2:3" in str(outcome.error)


def test_by_hand_it_sees_that_the_event_was_given_up():
    backend = MockBackend(manual=True)
    outcome = Outcome()
    backend.submit(rows(1), outcome.done)
    outcome.done.cancel()
    request = backend.pending[0]
    assert request.was_cancelled
    request.resolve()
    assert not outcome.is_there


def test_closing_fails_what_is_pending(context):
    backend = MockBackend(manual=True)
    backend.open(context)
    outcome = submit(backend, rows(1))
    backend.close()
    assert isinstance(outcome.error, ExternalError)


def test_an_url_gives_names_types_and_shapes():
    backend = make_backend("mock:tagger?inputs=image:float32[?,8,8]&outputs=probability:float32[?,2];n:int64[-1]")
    assert backend.describe().name == "tagger"
    reply = submit(backend, {"image": np.zeros((3, 8, 8), np.float32)}).reply
    assert reply["probability"].shape == (3, 2)
    assert reply["n"].dtype == np.int64
    assert isinstance(submit(backend, {"image": np.zeros((3, 8, 9), np.float32)}).error, BadRequest)


def test_an_url_can_ask_for_failures(context):
    backend = make_backend("mock:m?fail_every=2&error=DeadlineExceeded")
    outcomes = [submit(backend, rows(1)) for _ in range(4)]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), DeadlineExceeded] * 2
    with pytest.raises(ServerUnavailable, match="not reachable"):
        make_backend("mock:m?open=fail").open(context)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mock:m?outputs=y", "'y' is no tensor"),
        ("mock:m?outputs=y:float99[?]", "is no tensor"),
        ("mock:m?outputs=y:float32[a]", "is no tensor"),
        ("mock:m?error=Deadline", "there is no error 'Deadline'; did you mean 'DeadlineExceeded'"),
        ("mock:m?open=maybe", "open must be one of ok, fail"),
    ],
)
def test_a_wrong_url_is_refused(url, message):
    with pytest.raises(ValueError, match=message):
        make_backend(url)
