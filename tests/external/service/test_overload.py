"""Five times more requests than the model can answer, on a virtual clock: what is answered in time, and when."""

import random

import numpy as np
import pytest

from evtfw.core.completion import CallbackCompletion
from evtfw.core.resource import JobContext
from evtfw.core.simulation import VirtualClock
from evtfw.external.contract import Backend, Provenance, Reply
from evtfw.external.errors import Overloaded
from evtfw.external.service.model import HostedModel
from evtfw.external.service.settings import ServingSettings
from tests.external.conftest import ROWS, rows


class TimedBackend(Backend):
    """Computes for ``fixed_s + rows * row_s``, some more or less."""

    def __init__(self, slots, fixed_s, row_s, spread):
        self._slots, self._fixed_s, self._row_s, self._spread = slots, fixed_s, row_s, spread
        self._random = random.Random(1)

    @property
    def slots(self):
        return self._slots

    def open(self, context):
        self._clock = context.clock

    def describe(self):
        return ROWS

    def submit(self, request, done):
        x = request["x"]
        seconds = (self._fixed_s + len(x) * self._row_s) * self._random.uniform(1 - self._spread, 1 + self._spread)
        self._clock.call_later(seconds, lambda: done.resolve(Reply({"y": x}, Provenance("timed"))))


class Load:
    def __init__(self, rate, seconds, deadline_s, *, slots=1, fixed_s=0.0, row_s=0.01, spread=0.3, **settings):
        self.clock = VirtualClock()
        self.model = HostedModel("m", TimedBackend(slots, fixed_s, row_s, spread), settings=ServingSettings(**settings))
        self.model.open(JobContext(self.clock, 1, 1, print))
        self.good = self.asked = 0
        self.errors = []
        self.refused_after_s = []
        arrivals = random.Random(2)
        at = 0.0
        while at < seconds:
            at += arrivals.expovariate(rate)
            self.clock.call_later(at, lambda: self.ask(deadline_s))
        while self.clock.next_due_ns() is not None and self.clock.now_ns() < (seconds + 1) * 1e9:
            self.clock.advance(None)
        self.goodput = self.good / seconds

    def ask(self, deadline_s):
        self.asked += 1
        begin_ns = self.clock.now_ns()
        deadline_ns = begin_ns + round(deadline_s * 1e9)

        def ended(reply, error):
            now_ns = self.clock.now_ns()
            self.good += error is None and now_ns <= deadline_ns
            if error is not None:
                self.errors.append(error)
                self.refused_after_s.append((now_ns - begin_ns) * 1e-9)

        self.model.submit(rows(1), CallbackCompletion(ended, deadline_ns=deadline_ns))


@pytest.mark.parametrize(
    ("capacity", "options"),
    [
        (100, {}),
        (200, {"slots": 2}),
        (100, {"max_batch_size": 1}),
        (100, {"max_batch_size": 1, "spread": 0.9}),
        (16 / 0.036, {"fixed_s": 0.02, "row_s": 0.001, "max_batch_size": 16, "gather_s": None}),
    ],
    ids=["one", "two", "single", "erratic", "batches"],
)
def test_a_model_that_is_asked_five_times_too_much_does_not_slow_down(capacity, options):
    load = Load(5 * capacity, 10, 0.2, **options)
    assert load.goodput > 0.9 * capacity
    counts = load.model.statistics()
    assert counts.success.count + counts.reject.count == load.asked
    early = [seconds for seconds in load.refused_after_s if seconds < 0.01]
    assert len(early) > 0.98 * len(load.refused_after_s)
    assert sum(isinstance(error, Overloaded) for error in load.errors) > 0.98 * len(load.errors)


def test_below_its_capacity_nothing_is_refused():
    load = Load(50, 10, 1.0, max_batch_size=1)
    assert load.good == load.asked


def test_an_estimate_that_was_wrong_is_corrected():
    load = Load(50, 2, 0.2)
    load.model.scheduler._admission.time.add(1, 10**12)
    clock = load.clock
    for number in range(100):
        clock.call_later(number * 0.02, lambda: load.ask(0.2))
    before = load.good
    while clock.next_due_ns() is not None:
        clock.advance(None)
    assert load.good > before + 10
    assert np.isfinite(load.model.scheduler._admission.time.of(1))
