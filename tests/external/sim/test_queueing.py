"""The simulated service agrees with queueing theory, on the virtual clock."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from evtfw.core.completion import CallbackCompletion
from evtfw.core.resource import JobContext
from evtfw.core.simulation import VirtualClock
from evtfw.external.sim.backend import SimBackend
from evtfw.external.sim.latency import LatencyModel

REQUEST = {"x": np.zeros(1, np.float32)}


def opened(model, **options):
    clock = VirtualClock()
    backend = SimBackend(model, **options)
    backend.open(JobContext(clock, 1, 1, lambda line: None))
    return backend, clock


def mean_wait_ms(model, servers, rate_per_ms, requests=100_000, warm_up=2_000):
    """Mean time in the queue of requests that come at random times."""
    backend, clock = opened(model, servers=servers, seed=5)
    between = random.Random(4)
    waits = []

    def arrive(left):
        backend.submit(REQUEST, CallbackCompletion(lambda reply, error: waits.append(reply.times.queue_ns)))
        if left:
            clock.call_later(between.expovariate(rate_per_ms) * 1e-3, lambda: arrive(left - 1))

    arrive(requests)
    while clock.advance():
        pass
    return np.mean(waits[warm_up:]) * 1e-6


def erlang_c_wait(servers, rate, service):
    """M/M/c: Erlang's formula."""
    load = rate * service
    terms = [load**n / math.factorial(n) for n in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last) * service / (servers - load)


def deterministic_wait(servers, rate, service, states=400):
    """M/D/c, exactly (Crommelin 1932): what is in the system is a Markov chain in steps of the service time."""
    load = rate * service
    arrivals = np.exp(-load + np.arange(states) * np.log(load) - np.array([math.lgamma(n + 1) for n in range(states)]))
    occupied = np.zeros(states)
    occupied[0] = 1
    for _ in range(3000):
        left = occupied[servers:].copy()
        left[0] += occupied[:servers].sum()
        occupied = np.convolve(left, arrivals)[:states]
    in_system = (occupied * np.arange(states)).sum()
    return in_system / rate - service


def one_server_wait(rate, mean, second_moment):
    """M/G/1: Pollaczek and Khinchine."""
    return rate * second_moment / (2 * (1 - rate * mean))


def test_one_server_and_the_formula_of_the_chain_agree():
    assert deterministic_wait(1, 0.5, 1.0) == pytest.approx(one_server_wait(0.5, 1.0, 1.0), rel=1e-6)


@pytest.mark.parametrize(
    ("model", "servers", "rate", "expected"),
    [
        (LatencyModel(1), 1, 0.6, one_server_wait(0.6, 1, 1)),
        (LatencyModel(1), 3, 2.1, deterministic_wait(3, 2.1, 1)),
        (LatencyModel(1, "exponential"), 3, 1.8, erlang_c_wait(3, 1.8, 1)),
        (LatencyModel(1, shape=2), 1, 0.5, one_server_wait(0.5, 1, 1.5)),
        (LatencyModel(1, sigma=0.5), 1, 0.5, one_server_wait(0.5, 1, math.exp(0.25))),
    ],
    ids=["M/D/1", "M/D/3", "M/M/3", "M/Gamma/1", "M/lognormal/1"],
)
def test_the_mean_wait_is_what_theory_says(model, servers, rate, expected):
    assert mean_wait_ms(model, servers, rate) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("clients", [1, 3, 4, 10])
def test_a_closed_loop_has_the_throughput_of_its_servers(clients):
    """Clients that ask again at once, with three servers, a fixed time and a fixed way back."""
    backend, clock = opened(LatencyModel(4, network_ms=1), servers=3)
    answered = []

    def ask(*outcome):
        if outcome:
            answered.append(clock.now_ns())
        if len(answered) < 3000:
            backend.submit(REQUEST, CallbackCompletion(ask))

    for _ in range(clients):
        ask()
    while clock.advance():
        pass
    per_ms = len(answered) / (clock.now_ns() * 1e-6)
    assert per_ms == pytest.approx(min(clients / 5, 3 / 4), rel=0.03)
