"""Requests, replies, errors and the ends of both."""

from __future__ import annotations

import gc
import sys
import threading
import time

import grpc
import numpy as np
import pytest

from evtfw.core.completion import CallbackCompletion
from evtfw.core.errors import (
    BadReply,
    BadRequest,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.external.contract import Request
from evtfw.external.errors import AccessDenied, ModelNotFound, Overloaded
from evtfw.external.grpc.backend import Decoded
from tests.external.conftest import Outcome, submit
from tests.external.grpc.conftest import Doubler


def floats(*values):
    return {"x": np.array(values, np.float32)}


def test_a_request_is_answered(server, make):
    reply = submit(make(server.authority), floats(1, 2)).reply
    assert reply["y"].tolist() == [2, 4]
    assert reply.provenance.server == server.authority
    assert reply.provenance.model == "vector"
    assert reply.times.serialise_ns > 0
    assert reply.times.network_ns > 0


def test_what_a_service_says_of_itself_is_in_the_reply(server, make):
    class Talkative(Doubler):
        def decode(self, message, request):
            return Decoded(super().decode(message, request), "7", queue_ns=5, compute_ns=6, batch_rows=2)

    reply = submit(make(server.authority, Talkative), floats(1, 2)).reply
    assert reply.provenance.version == "7"
    assert (reply.times.queue_ns, reply.times.compute_ns, reply.times.batch_rows) == (5, 6, 2)


def test_each_request_has_an_id_and_keeps_its_own(server, make):
    seen = []

    class Noting(Doubler):
        def encode(self, request):
            seen.append(request)
            return super().encode(request)

    backend = make(server.authority, Noting)
    for request in (floats(1), Request(floats(1), "mine", 3), Request(floats(1), priority=2)):
        assert submit(backend, request).reply["y"].tolist() == [2]
    assert seen[1].id == "mine"
    assert seen[0].id != seen[2].id
    assert [request.priority for request in seen] == [0, 3, 2]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, ServerUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.INVALID_ARGUMENT, BadRequest),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.NOT_FOUND, ModelNotFound),
        (grpc.StatusCode.UNAUTHENTICATED, AccessDenied),
        (grpc.StatusCode.PERMISSION_DENIED, AccessDenied),
        (grpc.StatusCode.CANCELLED, Cancelled),
        (grpc.StatusCode.INTERNAL, ExternalError),
    ],
)
def test_a_status_is_an_error_of_its_kind(server, make, code, kind):
    server.refuse(code, "the words of the server")
    error = submit(make(server.authority), floats(1)).error
    assert type(error) is kind
    assert "the words of the server" in str(error)
    assert f"test+grpc://{server.authority}/vector" in str(error)


def test_a_request_that_does_not_fit_is_not_sent(server, make):
    backend = make(server.authority)
    assert isinstance(submit(backend, {"x": np.zeros(1)}).error, BadRequest)
    assert isinstance(submit(backend, {"z": np.zeros(1, np.float32)}).error, BadRequest)
    assert not server.metadata


def test_a_reply_that_does_not_fit_is_refused(server, make):
    backend = make(server.authority)
    server.answer = lambda message, context: b"\0" * 12
    assert "3 rows instead of the 1" in str(submit(backend, floats(1)).error)
    server.answer = lambda message, context: b"\0" * 3
    error = submit(backend, floats(1)).error
    assert isinstance(error, BadReply)
    assert "cannot read the reply" in str(error)


def test_a_request_that_is_too_large_fails_before_it_is_sent(server, make):
    error = submit(make(server.authority, max_message_bytes=15), floats(1, 2, 3, 4)).error
    assert isinstance(error, BadRequest)
    assert "16 bytes" in str(error)
    assert "max_message_bytes=15" in str(error)
    assert not server.metadata


def test_a_reply_that_is_too_large_says_what_to_do(server, make):
    server.answer = lambda message, context: b"\0" * 1000
    error = submit(make(server.authority, max_message_bytes=500), floats(1)).error
    assert isinstance(error, BadReply)
    assert "max_message_bytes" in str(error)


def test_megabytes_go_both_ways(server, make):
    x = np.arange(2_000_000, dtype=np.float32)
    assert np.array_equal(submit(make(server.authority), {"x": x}).reply["y"], 2 * x)


def test_the_deadline_of_the_request_holds(server, make):
    server.answer = server.held
    backend = make(server.authority)
    error = submit(backend, floats(1), deadline_ns=time.monotonic_ns() + 50_000_000).error
    assert isinstance(error, DeadlineExceeded)
    assert server.cancelled.wait(10)


def test_without_a_deadline_the_default_holds(server, make):
    server.answer = server.held
    assert isinstance(submit(make(server.authority, default_timeout_s=0.05), floats(1)).error, DeadlineExceeded)


def test_after_the_deadline_nothing_is_sent(server, make):
    error = submit(make(server.authority), floats(1), deadline_ns=1).error
    assert isinstance(error, DeadlineExceeded)
    assert not server.metadata


def test_the_server_sees_that_a_request_was_given_up(server, make):
    server.answer = server.held
    outcome = Outcome()
    make(server.authority).submit(floats(1), outcome.done)
    assert server.arrived.wait(10)
    outcome.done.cancel()
    assert server.cancelled.wait(10)
    assert outcome.times_ended == 0


def test_giving_up_at_once_does_no_harm(server, make):
    backend = make(server.authority)
    for _ in range(50):
        outcome = Outcome()
        backend.submit(floats(1), outcome.done)
        outcome.done.cancel()
    assert submit(backend, floats(1)).reply["y"].tolist() == [2]


def test_nobody_there():
    backend = Doubler("127.0.0.1:1", url="test+grpc://127.0.0.1:1/vector")
    assert "not open" in str(submit(backend, floats(1)).error)
    with pytest.raises(ExternalError, match="not open"):
        backend.describe()


def test_open_names_the_server_that_cannot_be_reached(make):
    with pytest.raises(ServerUnavailable, match=r"test\+grpc://127.0.0.1:1/vector.*UNAVAILABLE"):
        make("127.0.0.1:1")


def test_open_does_not_wait_for_ever(server, make):
    class Asking(Doubler):
        def connect(self):
            self.call_now("/test.Test/Metadata", b"")
            return self.model

    server.answer = server.held
    with pytest.raises(ServerUnavailable, match=r"does not answer within 0\.05 s"):
        make(server.authority, Asking, connect_timeout_s=0.05)


def test_a_server_that_goes_away(server, make):
    backend = make(server.authority)
    server.answer = server.held
    outcome = submit(backend, floats(1))
    assert server.arrived.wait(10)
    server.server.stop(0)
    assert isinstance(outcome.error, (ServerUnavailable, Cancelled))
    assert isinstance(submit(backend, floats(1)).error, ServerUnavailable)


def test_close_fails_what_is_on_its_way(server, make):
    backend = make(server.authority)
    server.answer = server.held
    outcomes = [submit(backend, floats(1)) for _ in range(5)]
    backend.close()
    assert all("was closed before it answered" in str(outcome.error) for outcome in outcomes)
    assert [outcome.times_ended for outcome in outcomes] == [1] * 5


def test_it_can_be_opened_again(server, make, real_context):
    backend = make(server.authority)
    with pytest.raises(ConfigurationError, match="open already"):
        backend.open(real_context)
    backend.close()
    backend.close()
    assert "not open" in str(submit(backend, floats(1)).error)
    backend.open(real_context)
    assert submit(backend, floats(1)).reply["y"].tolist() == [2]


def test_what_waits_may_raise_and_the_next_is_served(server, make, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    ended = threading.Event()

    def raise_in_callback(reply, error):
        ended.set()
        raise RuntimeError("a mistake in the callback")

    backend = make(server.authority)
    backend.submit(floats(1), CallbackCompletion(raise_in_callback))
    assert ended.wait(10)
    assert submit(backend, floats(1)).reply["y"].tolist() == [2]
    assert "a mistake in the callback" in str(reported[0].exc_value)


@pytest.mark.parametrize("where", ["encode", "decode"])
def test_mistakes_of_a_subclass_fail_the_request(server, make, where):
    def raise_it(*arguments):
        raise KeyError("oops")

    kind = type("Wrong", (Doubler,), {where: raise_it})
    error = submit(make(server.authority, kind), floats(1)).error
    assert isinstance(error, ExternalError)
    assert "KeyError: 'oops'" in str(error)


def test_a_thread_busy_with_python_does_not_stop_the_traffic(server, make):
    backend = make(server.authority)
    stop = threading.Event()

    def compute():
        while not stop.is_set():
            sum(range(100))

    busy = threading.Thread(target=compute)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    busy.start()
    try:
        outcomes = [submit(backend, floats(i)) for i in range(100)]
        assert [outcome.reply["y"][0] for outcome in outcomes] == [2 * i for i in range(100)]
    finally:
        stop.set()
        busy.join()
        sys.setswitchinterval(before)


def test_many_threads_submit_and_each_request_ends_once(server, make):
    backend = make(server.authority)
    outcomes = [[] for _ in range(6)]

    def send(number):
        outcomes[number].extend(submit(backend, floats(number, i)) for i in range(50))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, mine in enumerate(outcomes):
        assert [outcome.reply["y"].tolist() for outcome in mine] == [[2 * number, 2 * i] for i in range(50)]
        assert {outcome.times_ended for outcome in mine} == {1}


def test_nothing_of_a_request_stays(server, make):
    backend = make(server.authority)
    x = np.zeros(4, np.float32)
    before = sys.getrefcount(x)
    for _ in range(20):
        assert submit(backend, {"x": x}).reply["y"].size == 4
    assert submit(backend, floats(1)).reply  # the loop has let go of the one before when this was answered
    gc.collect()
    assert sys.getrefcount(x) <= before + 1
    assert not backend._in_flight
