from __future__ import annotations

import threading

import pytest

from evtfw.core.errors import ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, Provenance, Reply
from evtfw.external.delivery import deliver
from evtfw.external.routing.options import RoutingOptions
from evtfw.external.routing.router import Router
from evtfw.testing import VirtualClock
from tests.external.conftest import ROWS, rows, submit

HANG, DROP, TWICE = "hang", "drop", "twice"


class Server(Backend):
    """Does what `behaviour(number of the request)` says, after `delay_s`, on a virtual clock.

    A behaviour is None for a reply, an error, or HANG, DROP, TWICE; or a pair of such and a delay.
    """

    def __init__(self, name="a", behaviour=None, delay_s=0.01, open_error=None, description=ROWS):
        self.url = f"sim://{name}/rows"
        self.behaviour = behaviour
        self.delay_s = delay_s
        self.open_error = open_error
        self.description = description
        self.times_ns = []
        self.deadlines_ns = []
        self.in_flight = self.most_in_flight = self.cancelled = self.closed = 0
        self.kept = []

    def open(self, context):
        if self.open_error is not None:
            raise self.open_error
        self.clock = context.clock

    def close(self):
        self.closed += 1

    def describe(self):
        return self.description

    @property
    def requests(self):
        return len(self.times_ns)

    def submit(self, request, done):
        behaviour = self.behaviour(len(self.times_ns)) if callable(self.behaviour) else self.behaviour
        what, delay_s = behaviour if isinstance(behaviour, tuple) else (behaviour, self.delay_s)
        self.times_ns.append(self.clock.now_ns())
        self.deadlines_ns.append(done.deadline_ns)
        work = Work(self, what, request, done)
        if what == DROP:
            work.done = None
            self.in_flight -= 1
        elif what == HANG:
            self.kept.append(work)
        else:
            self.clock.call_later(delay_s, work.end)


class Late(Server):
    """Cannot be reached the first times."""

    def __init__(self, name, failures, error=ServerUnavailable, **options):
        super().__init__(name, **options)
        self.failures = failures
        self.error = error
        self.opened = 0

    def open(self, context):
        self.opened += 1
        if self.opened <= self.failures:
            raise self.error(f"refused {self.opened}" if self.opened > 1 else "refused")
        super().open(context)


class HeldWhileOpening(Late):
    """Cannot be reached the first time; later openings begin, and go on when the test says so."""

    def __init__(self, name):
        super().__init__(name, failures=1)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def open(self, context):
        if self.opened:
            self.entered.set()
            assert self.go_on.wait(30)
        super().open(context)


class Work:
    def __init__(self, server, what, request, done):
        self.server, self.what, self.request, self.done = server, what, request, done
        self.is_open = True
        server.in_flight += 1
        server.most_in_flight = max(server.most_in_flight, server.in_flight)
        done.on_cancel(self)

    def cancel(self):
        self._leave()
        self.server.cancelled += 1

    def _leave(self):
        if self.is_open:
            self.is_open = False
            self.server.in_flight -= 1

    def end(self):
        self._leave()
        outcome = self.what
        if not isinstance(outcome, BaseException):
            inputs = getattr(self.request, "inputs", self.request)
            outcome = Reply({"y": inputs["x"]}, Provenance(self.server.url))
        done, self.done = self.done, None
        deliver(done, outcome)
        if self.what == TWICE:
            deliver(done, outcome)


def failing(error=ServerUnavailable, *, until=1 << 60):
    """The first requests fail at once."""
    return lambda number: (error("gone"), 0.0) if number < until else None


def wait_for(condition):
    """The helper thread is about to do something."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it never happens")


class Bench:
    """A router over servers on a virtual clock."""

    def __init__(self, *servers, streams=4, seed=1, **options):
        self.clock = VirtualClock()
        self.said = []
        self.servers = servers
        self.router = Router(servers, options=RoutingOptions(**options), seed=seed, url="route:")
        self.context = JobContext(clock=self.clock, threads=2, streams=streams, say=self.said.append)
        self.router.open(self.context)

    def submit(self, value=1.0, timeout_s=30.0, **options):
        deadline_ns = None if timeout_s is None else self.clock.now_ns() + round(timeout_s * 1e9)
        return submit(self.router, rows(value), deadline_ns=deadline_ns, **options)

    def run(self, seconds=1000.0):
        """Let time pass until nothing happens any more."""
        limit_ns = self.clock.now_ns() + round(seconds * 1e9)
        while self.clock.next_due_ns() is not None and self.clock.next_due_ns() <= limit_ns:
            self.clock.advance()

    def wait(self, seconds):
        limit_ns = self.clock.now_ns() + round(seconds * 1e9)
        while self.clock.advance(limit_ns):
            pass

    def until(self, outcome, seconds=1000.0):
        """Let time pass until a request has ended; return how long it took, in s."""
        start_ns = self.clock.now_ns()
        while not outcome.is_there:
            assert self.clock.advance(start_ns + round(seconds * 1e9)), "it never ends"
        return (self.clock.now_ns() - start_ns) * 1e-9

    def serve(self, count, gap_s=0.02):
        """Send requests one after the other."""
        outcomes = []
        for _ in range(count):
            outcomes.append(self.submit())
            self.wait(gap_s)
        return outcomes

    def statistics(self):
        return self.router.statistics()
