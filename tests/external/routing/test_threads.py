"""The same with real threads and the real clock."""

from __future__ import annotations

import gc
import random
import sys
import threading

import pytest

from evtfw.core.clock import RealClock
from evtfw.core.errors import BadRequest, ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.errors import Overloaded
from evtfw.external.pool import PooledBackend
from evtfw.external.routing.options import RoutingOptions
from evtfw.external.routing.router import Router
from evtfw.external.routing.turns import Turns
from tests.external.conftest import ROWS, Outcome, rows, submit


@pytest.fixture
def hurry():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def server(name, share):
    source = random.Random(name)

    def run(inputs):
        if source.random() < share:
            raise source.choice([ServerUnavailable, Overloaded])(f"{name} refuses")
        if source.random() < 0.01:
            raise BadRequest("x")
        return {"y": inputs["x"]}

    return PooledBackend(run, ROWS, threads=2, name=name, url=f"pool:{name}")


@pytest.mark.parametrize("hedge", [False, True])
def test_requests_from_many_threads_end_once(hurry, hedge):
    clock, said = RealClock(), []
    router = Router([server("a", 0.0), server("b", 0.02), server("c", 0.05)], options=RoutingOptions(hedge=hedge))
    router.open(JobContext(clock=clock, threads=4, streams=64, say=said.append))
    outcomes = [[] for _ in range(4)]

    def work(mine):
        for number in range(300):
            mine.append((number, submit(router, rows(number), deadline_ns=clock.now_ns() + 20 * 10**9)))
            if number % 16 == 0:
                mine[-1][1]._get()
            if number % 50 == 0:
                given_up = Outcome()
                router.submit(rows(number), given_up.done)
                given_up.done.cancel()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number, outcome in (pair for mine in outcomes for pair in mine):
        error = outcome.error
        assert outcome.times_ended == 1
        assert isinstance(error, BadRequest) if error else outcome.reply["y"].item() == number
    router.close()
    assert sum(statistics.in_flight for statistics in router.statistics()) == 0


def test_a_step_in_the_middle_of_a_step_comes_next():
    turns, seen = Turns(), []

    class Dropped:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            turns.take(step, "dropped")

    def step(argument, actions):
        seen.append(argument)
        if argument == "first":
            Dropped()
            gc.collect()
        seen.append(f"{argument} done")
        actions.append((act, (argument,)))

    def act(argument):
        if argument == "first":
            turns.take(step, "from an action")
        seen.append(f"after {argument}")

    turns.take(step, "first")
    assert seen == [
        *("first", "first done", "dropped", "dropped done", "from an action", "from an action done"),
        *("after first", "after dropped", "after from an action"),
    ]


def test_an_action_that_raises_is_reported_and_the_others_follow(monkeypatch):
    reported, seen = [], []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def step(argument, actions):
        actions.append((lambda: 1 / 0, ()))
        actions.append((seen.append, ("next",)))

    Turns().take(step, None)
    assert seen == ["next"]
    assert reported[0].exc_type is ZeroDivisionError
