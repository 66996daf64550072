"""Handing an outcome to whoever waits for it, from threads whose own work must go on whatever happens there."""

from __future__ import annotations

import threading

from evtfw.core.completion import Completion
from evtfw.external.contract import Reply


def deliver(done: Completion, outcome: Reply | BaseException) -> None:
    """End ``done``; never raises.

    If what waits raises in its callback, ``done`` fails with that; if it had ended already, the error goes to
    `threading.excepthook`, so that nothing is swallowed and the calling thread can serve the next request.
    """
    try:
        if isinstance(outcome, BaseException):
            done.fail(outcome)
        else:
            done.resolve(outcome)
    except BaseException as error:
        _report(done, error)


def _report(done: Completion, error: BaseException) -> None:
    try:
        taken = done.fail(error)
    except BaseException as second:
        taken, error = False, second
    if not taken:
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
        )
