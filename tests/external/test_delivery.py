from __future__ import annotations

import threading

import pytest

from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.core.errors import ServerUnavailable
from evtfw.external.contract import Provenance, Reply
from evtfw.external.delivery import deliver
from tests.external.conftest import Outcome

REPLY = Reply({}, Provenance("test"))


class Fragile(Completion):
    """Raises when it is resolved, before it has ended."""

    def __init__(self):
        self.error = None
        super().__init__()

    @property
    def is_done(self):
        return self.error is not None

    def _finish(self, reply, error):
        if error is None:
            raise MemoryError("no room for the reply")
        self.error = error
        return True


def test_replies_and_errors_arrive():
    fine, failed = Outcome(), Outcome()
    deliver(fine.done, REPLY)
    deliver(failed.done, ServerUnavailable("gone"))
    assert fine.reply is REPLY
    assert isinstance(failed.error, ServerUnavailable)


def test_what_a_completion_raises_before_it_ended_fails_it():
    done = Fragile()
    deliver(done, REPLY)
    assert isinstance(done.error, MemoryError)


@pytest.mark.parametrize("outcome", [REPLY, ServerUnavailable("gone")])
def test_what_a_callback_raises_is_reported_and_not_thrown(outcome, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    deliver(CallbackCompletion(lambda reply, error: 1 / 0), outcome)
    assert [report.exc_type for report in reported] == [ZeroDivisionError]
