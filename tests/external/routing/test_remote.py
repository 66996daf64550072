from __future__ import annotations

import pickle

import pytest

from evtfw.core.errors import ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, Recipe
from evtfw.external.fallback import fallback
from evtfw.external.routing.remote import RemoteBackend, remote_backend
from evtfw.external.routing.route import route
from evtfw.external.routing.router import Router
from evtfw.external.urls import register_backend
from evtfw.testing import VirtualClock
from tests.external.conftest import rows, submit
from tests.external.routing.bench import Server


class Client(Server):
    @classmethod
    def from_url(cls, url):
        return remote_backend(url, cls.make)

    @classmethod
    def make(cls, authority, url, options):
        client = cls(authority)
        client.url = str(url)
        client.priority = options.integer("priority", 0, at_least=0)
        return client


@pytest.fixture(autouse=True, scope="module")
def scheme():
    register_backend("routed", Client)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def context(clock, said):
    return JobContext(clock=clock, threads=2, streams=4, say=said.append)


def test_an_url_names_several_servers():
    backend = Backend.from_configuration("routed://a:1,b:2/toptag/3?priority=2&hedge=1&limit=5&max_batch=8")
    assert isinstance(backend, RemoteBackend)
    assert [client.url for client in backend.router.backends] == ["routed://a:1/toptag/3", "routed://b:2/toptag/3"]
    assert [client.priority for client in backend.router.backends] == [2, 2]
    assert backend.url == "routed://a:1,b:2/toptag/3?priority=2&hedge=1&limit=5&max_batch=8"
    assert backend.batching["max_batch"] == 8
    assert (backend.router._options.hedge, backend.router._options.limit) == (True, 5)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("routed:toptag", "names no server; write routed://HOST:PORT/MODEL"),
        ("routed://a:1,/toptag", "names no server"),
        ("routed://a:1,a:1/toptag", "names a server twice"),
        ("routed://a:1/toptag?retry=2", "there is no option 'retry'; did you mean 'retries'?"),
        ("routed://a:1/toptag?hedge=yes", "hedge must be one of 0, 1"),
    ],
)
def test_mistakes_in_an_url(url, message):
    with pytest.raises(ValueError, match=message):
        Backend.from_configuration(url)


def test_requests_of_any_size_reach_the_servers(context, clock):
    backend = Backend.from_configuration("routed://a:1,b:2/toptag?max_batch=4")
    backend.open(context)
    outcome = submit(backend, rows(*range(30)))
    while clock.advance():
        pass
    assert outcome.reply["y"].ravel().tolist() == list(range(30))
    assert {client.requests for client in backend.router.backends} == {4}
    backend.close()


def test_route_is_a_value_that_a_configuration_can_write_and_dump():
    value = route("mock:a", None, "", fallback("mock:b", "mock:c"), retries=2, hedge=True)
    assert repr(value) == "route('mock:a', fallback('mock:b', 'mock:c'), hedge=True, retries=2)"
    assert eval(repr(value), {"route": route, "fallback": fallback}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert len({value, pickle.loads(pickle.dumps(value))}) == 1
    assert isinstance(value, Recipe)
    backend = Backend.from_configuration(value)
    assert isinstance(backend, Router)
    assert backend.url == repr(value)


def test_route_takes_remote_choices_apart():
    backend = Backend.from_configuration(route("routed://a:1,b:1/m?max_batch=16", "routed://c:1/m", limit=2))
    assert isinstance(backend, RemoteBackend)
    assert [client.url for client in backend.router.backends] == [f"routed://{name}:1/m" for name in "abc"]
    assert backend.batching["max_batch"] == 16


def test_route_says_what_to_write():
    with pytest.raises(ValueError, match="needs at least one backend"):
        route(None, "")
    with pytest.raises(ValueError, match="no option 'retry'; did you mean 'retries'"):
        route("mock:a", retry=1)


def test_a_fallback_takes_over_when_no_server_is_left(context, clock, said):
    backend = fallback("routed://a:1,b:2/m", "mock:m").make()
    backend.open(context)
    for server in backend._choices[0].router.backends:
        server.behaviour = (ServerUnavailable("killed"), 0.0)
    outcomes = []
    for _ in range(20):
        outcomes.append(submit(backend, rows(1), deadline_ns=clock.now_ns() + 30 * 10**9))
        while not outcomes[-1].is_there:
            assert clock.advance()
    assert {outcome.reply.provenance.backend for outcome in outcomes} == {"mock:m"}
    assert "killed" in outcomes[0].reply.provenance.fallback_reason
    assert clock.now_ns() <= 1e9
    assert sum("failed" in line for line in said) == 1
