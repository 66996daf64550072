"""A choice that cannot be reached at the start is opened in the background, and used in its place from then on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from evtfw.core.errors import ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.contract import TensorSpec
from evtfw.external.errors import AccessDenied
from evtfw.external.fallback import FallbackBackend, fallback
from evtfw.external.mock import MockBackend
from evtfw.testing import VirtualClock
from tests.external.conftest import ROWS, rows, submit
from tests.external.routing.bench import HeldWhileOpening, Late, Server, wait_for
from tests.external.service.endpoint.conftest import serving
from tests.peers.tritonserver import free_ports


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def context(clock, said):
    return JobContext(clock=clock, threads=2, streams=4, say=said.append)


@pytest.fixture
def opened(context):
    """Make a fallback of these choices and open it; it is closed at the end."""
    made = []

    def make(*choices):
        made.append(FallbackBackend(list(choices)))
        made[-1].open(context)
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def ask(backend, clock):
    """Submit, and let time pass until the reply is there."""
    outcome = submit(backend, rows(1))
    while not outcome.is_there:
        assert clock.advance()
    return outcome.reply.provenance


def try_again(clock, late, times):
    """Let the pause pass, and wait until it was opened so many times."""
    wait_for(lambda: clock.next_due_ns() is not None)
    assert clock.advance()
    wait_for(lambda: late.opened >= times)


def test_it_is_used_first_once_it_can_be_reached(opened, clock, said):
    late = Late("a", failures=2)
    backend = opened(late, Server("b"))
    assert said == ["cannot use sim://a/rows: refused; tried again from time to time", "using sim://b/rows"]
    assert ask(backend, clock).backend == "sim://b/rows"
    for times in (2, 3):
        try_again(clock, late, times)
    wait_for(lambda: len(said) == 3)
    assert clock.now_ns() >= 0.75 * (2 + 4) * 1e9
    assert said[2] == "sim://a/rows can be reached now: using sim://a/rows, and if it fails sim://b/rows"
    after = ask(backend, clock)
    assert (after.backend, after.attempts, after.fallback_reason) == ("sim://a/rows", 1, "")
    assert backend.summary == late.summary


def test_until_then_replies_say_what_the_last_try_ended_with(opened, clock):
    late = Late("a", failures=9)
    backend = opened(late, Server("b"))
    assert ask(backend, clock).fallback_reason == "sim://a/rows: refused"
    try_again(clock, late, 2)
    wait_for(lambda: backend._order.reason == "sim://a/rows: refused 2")
    assert ask(backend, clock).fallback_reason == "sim://a/rows: refused 2"


def test_one_in_the_middle_takes_its_place_and_is_no_reason(opened, clock, said):
    late = Late("b", failures=1)
    backend = opened(Server("a"), late, Server("c"))
    assert said[-1] == "using sim://a/rows, and if it fails sim://c/rows"
    try_again(clock, late, 2)
    wait_for(lambda: len(said) == 3)
    assert said[2] == (
        "sim://b/rows can be reached now: using sim://a/rows, and if it fails sim://b/rows, then sim://c/rows"
    )
    assert ask(backend, clock) == ask(opened(Server("a")), clock)


def test_what_is_on_its_way_goes_on_along_the_choices_that_it_began_with(opened, clock, said):
    late, second = Late("a", failures=1), MockBackend(description=ROWS, manual=True, url="mock:b")
    backend = opened(late, second, MockBackend(lambda inputs: {"y": inputs["x"]}, description=ROWS, url="mock:c"))
    outcome = submit(backend, rows(1))
    try_again(clock, late, 2)
    wait_for(lambda: len(said) == 3)
    second.pending[0].fail(ExternalError("gone"))
    assert outcome.reply.provenance.backend == "mock:c"
    assert outcome.reply.provenance.fallback_reason == "sim://a/rows: refused; mock:b: gone"


def test_who_turns_out_to_be_another_model_is_not_used(opened, clock, said):
    other = dataclasses.replace(ROWS, outputs=(TensorSpec("z", "float32", (None, 1)),))
    late = Late("a", failures=1, description=other)
    backend = opened(late, Server("b"))
    try_again(clock, late, 2)
    wait_for(lambda: any("sim://a/rows is not used" in line for line in said))
    assert ask(backend, clock).backend == "sim://b/rows"
    assert late.closed == 2


def test_what_would_be_the_same_later_is_not_tried_again(opened, clock, said):
    opened(Late("a", failures=9, error=AccessDenied), Server("b"))
    assert said[0] == "cannot use sim://a/rows: refused"
    assert clock.next_due_ns() is None


def test_after_closing_nothing_is_opened_any_more(opened, clock):
    late = Late("a", failures=9)
    opened(late, Server("b")).close()
    assert not clock.advance(10**12)
    assert late.opened == 1


def test_one_that_is_opened_during_the_end_is_closed(opened, clock):
    late = HeldWhileOpening("a")
    backend = opened(late, Server("b"))
    assert clock.advance()
    assert late.entered.wait(30)
    closed = late.closed
    backend.close()
    assert late.closed == closed
    late.go_on.set()
    wait_for(lambda: late.closed == closed + 1)
    assert "not open" in str(submit(backend, rows(1)).error)


def test_a_real_service_that_starts_later_takes_over(context, clock, said):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    description = "inputs=x:float32[?,4]&outputs=y:float32[?,4];sum:float32[?]"
    backend = fallback(f"triton+grpc://{address}/rows?connect_timeout_s=5", f"mock:zeros?{description}").make()
    backend.open(context)
    images = {"x": np.ones((2, 4), np.float32)}
    assert submit(backend, images).reply["y"].tolist() == [[0.0] * 4] * 2

    def is_used():
        clock.advance()
        return len(said) == 3

    with serving(address=address):
        wait_for(is_used)
        reply = submit(backend, images).reply
        assert reply["y"].tolist() == [[2.0] * 4] * 2
        assert reply.provenance.fallback_reason == ""
        backend.close()
    assert said[2].startswith(f"triton+grpc://{address}/rows?connect_timeout_s=5 can be reached now: using ")
