from __future__ import annotations

import queue
from pathlib import Path

import numpy as np
import pytest

from evtfw.core.completion import CallbackCompletion
from evtfw.core.resource import JobContext
from evtfw.external.contract import ModelDescription, Reply, TensorSpec

MODELS = Path(__file__).parent / "data"


class ManualClock:
    """Time that passes only when a test says so."""

    def __init__(self):
        self.time_ns = 0
        self.timers = []

    def now_ns(self):
        return self.time_ns

    def call_later(self, delay_s, callback):
        timer = ManualTimer(self.time_ns + round(delay_s * 1e9), callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds):
        self.time_ns += round(seconds * 1e9)
        due = [timer for timer in self.timers if timer.due_ns <= self.time_ns]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            if not timer.was_cancelled:
                timer.callback()


class ManualTimer:
    def __init__(self, due_ns, callback):
        self.due_ns = due_ns
        self.callback = callback
        self.was_cancelled = False

    def cancel(self):
        self.was_cancelled = True


class Outcome:
    """What became of a request."""

    def __init__(self, name="", deadline_ns=None):
        self._ended = queue.SimpleQueue()
        self._taken = None
        self.times_ended = 0
        self.done = CallbackCompletion(self._end, name=name, deadline_ns=deadline_ns)

    def _end(self, reply, error):
        self.times_ended += 1
        self._ended.put((reply, error))

    @property
    def is_there(self):
        return self.times_ended > 0

    def _get(self):
        if self._taken is None:
            self._taken = self._ended.get(timeout=30)
        return self._taken

    @property
    def reply(self) -> Reply:
        reply, error = self._get()
        if error is not None:
            raise error
        return reply

    @property
    def error(self):
        return self._get()[1]


def submit(backend, inputs, **options):
    """Submit and return what will become of it; the completion is held by the backend alone."""
    outcome = Outcome(**options)
    done, outcome.done = outcome.done, None
    backend.submit(inputs, done)
    return outcome


def rows(*values):
    """Inputs of `ROWS`: one column of float32."""
    return {"x": np.asarray(values, dtype=np.float32).reshape(-1, 1)}


ROWS = ModelDescription(
    "rows",
    version="3",
    inputs=(TensorSpec("x", np.dtype("float32"), (None, 1)),),
    outputs=(TensorSpec("y", np.dtype("float32"), (None, 1)),),
    max_batch_size=None,
    sha256="abc",
)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def said():
    return []


@pytest.fixture
def context(clock, said):
    return JobContext(clock=clock, threads=2, streams=4, say=said.append)
