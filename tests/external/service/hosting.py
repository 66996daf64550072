"""Hosted models for tests: a backend that the test answers by hand, on a clock that it moves."""

from __future__ import annotations

from evtfw.core.resource import JobContext
from evtfw.external.mock import MockBackend
from evtfw.external.service.model import HostedModel
from evtfw.external.service.settings import ServingSettings
from tests.external.conftest import ROWS, ManualClock, Outcome, rows


class Hosted:
    """A model ``rows`` (y = 2 x) whose executions wait in `pending`."""

    def __init__(self, *, slots=1, answer=lambda inputs: {"y": 2 * inputs["x"]}, description=ROWS, **settings):
        self.clock = ManualClock()
        self.backend = MockBackend(answer, description=description, manual=True, slots=slots)
        settings = {"gather_s": None, **settings}
        self.model = HostedModel("rows", self.backend, settings=ServingSettings(**settings))
        self.model.open(JobContext(self.clock, 1, 1, lambda line: None))

    @property
    def pending(self):
        return self.backend.pending

    @property
    def batches(self):
        """The values in the executions that run."""
        return [request.inputs["x"][:, 0].tolist() for request in self.pending]

    def ask(self, *values, deadline_s=None, **options):
        deadline_ns = None if deadline_s is None else self.clock.now_ns() + round(deadline_s * 1e9)
        outcome = Outcome(deadline_ns=deadline_ns)
        self.model.submit(rows(*values), outcome.done, **options)
        return outcome

    def answer(self, seconds=0.0):
        """Let time pass and end the oldest execution."""
        self.clock.advance(seconds)
        self.pending[0].resolve()

    def answer_all(self, seconds=0.0):
        while self.pending:
            self.answer(seconds)

    @property
    def counts(self):
        statistics = self.model.statistics()
        return {name: getattr(statistics, name).count for name in ("success", "fail", "cancel", "reject")}
