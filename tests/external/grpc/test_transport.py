"""Both ways into gRPC do the same; the quick one is taken where it works."""

from __future__ import annotations

import subprocess
import sys
import threading

import grpc
import pytest

from evtfw.core.completion import CallbackCompletion
from evtfw.core.errors import Cancelled, DeadlineExceeded, ExternalError, ServerUnavailable
from evtfw.external.errors import Overloaded
from evtfw.external.grpc import transport
from evtfw.external.grpc.transport import FutureTransport, QueueTransport, best_transport
from tests.external.conftest import Outcome, submit
from tests.external.grpc.test_backend import floats


def made_otherwise(*arguments):
    raise TypeError("integrated_call() takes no such arguments")


@pytest.fixture(params=["queue", "future"])
def either(request, monkeypatch):
    """Each of the ways in turn."""
    if request.param == "future":
        monkeypatch.setattr(QueueTransport, "send", made_otherwise)
    return {"queue": QueueTransport, "future": FutureTransport}[request.param]


def test_requests_are_answered(server, make, either):
    backend = make(server.authority)
    assert type(backend._channel.transport) is either
    outcomes = [submit(backend, floats(i)) for i in range(50)]
    assert [outcome.reply["y"].tolist() for outcome in outcomes] == [[2 * i] for i in range(50)]


def test_a_status_is_told(server, make, either):
    server.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "the words of the server")
    error = submit(make(server.authority), floats(1)).error
    assert type(error) is Overloaded
    assert "the words of the server" in str(error)
    assert error.__cause__.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_headers_go_with_a_call(server, make, either):
    assert submit(make(server.authority, headers=(("x-experiment", "demo"),)), floats(1)).reply
    assert server.metadata[0]["x-experiment"] == "demo"


def test_the_time_limit_holds(server, make, either):
    server.answer = server.held
    assert isinstance(submit(make(server.authority, default_timeout_s=0.05), floats(1)).error, DeadlineExceeded)
    assert server.cancelled.wait(10)


def test_a_call_is_given_up(server, make, either):
    server.answer = server.held
    outcome = Outcome()
    make(server.authority).submit(floats(1), outcome.done)
    assert server.arrived.wait(10)
    outcome.done.cancel()
    assert server.cancelled.wait(10)
    assert outcome.times_ended == 0


def test_the_end_fails_what_is_on_its_way(server, make, either):
    server.answer = server.held
    backend = make(server.authority)
    outcomes = [submit(backend, floats(1)) for _ in range(3)]
    backend.close()
    assert all("was closed before it answered" in str(outcome.error) for outcome in outcomes)


def test_a_lost_server_is_told(server, make, either):
    backend = make(server.authority)
    server.server.stop(0).wait()
    assert isinstance(submit(backend, floats(1)).error, (ServerUnavailable, Cancelled))


def test_a_backend_may_be_closed_by_whom_it_answers(server, make, either):
    backend = make(server.authority)
    ended = threading.Event()

    def close_and_ask(reply, error):
        with pytest.raises(ExternalError, match="cannot wait for another"):
            backend.call_now("/test.Test/Double", b"")
        backend.close()
        ended.set()

    backend.submit(floats(1), CallbackCompletion(close_and_ask))
    assert ended.wait(10)
    assert "not open" in str(submit(backend, floats(1)).error)


def test_a_closed_connection_takes_nothing(server):
    way = best_transport(lambda: grpc.insecure_channel(server.authority))
    way.close()
    way.close()
    with pytest.raises(ValueError, match="closed"):
        way.send(transport._Nothing())


def test_threads_end_with_their_connection(server, make):
    backend = make(server.authority)
    thread = backend._channel.transport._thread
    backend.close()
    assert not thread.is_alive()


SCRIPT = """
import os
import evtfw.external.grpc
print(os.environ.get("GRPC_EXPERIMENTS"))
"""


@pytest.mark.parametrize("chosen", [None, "event_engine_client"])
def test_how_grpc_polls_is_not_passed_on_to_other_programs(chosen, monkeypatch):
    if chosen:
        monkeypatch.setenv("GRPC_EXPERIMENTS", chosen)
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(chosen), "")
