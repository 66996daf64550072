"""One thing after the other from many threads, without anybody waiting: what changes a state, and then what follows."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

Actions: TypeAlias = list[tuple[Callable[..., object], tuple[Any, ...]]]
"""What to do once the state is consistent: functions and their arguments."""
Step: TypeAlias = Callable[[Any, Actions], None]


class Turns:
    """Runs steps one at a time, in order; their actions follow outside, in the thread that ran the step.

    Who finds a step running leaves its own to that thread, so nobody ever waits for a lock: also a completion that is
    dropped by the garbage collector in the middle of a step comes next. An action that causes further steps in the same
    thread does not nest: their actions come after it.
    """

    def __init__(self) -> None:
        self._inbox: deque[tuple[Step, Any]] = deque()
        self._running = threading.Lock()
        self._acting: dict[int, deque[tuple[Callable[..., object], tuple[Any, ...]]]] = {}

    def take(self, step: Step, argument: Any) -> None:
        """Call ``step(argument, actions)`` when it is its turn, and then do the actions. Never raises."""
        inbox, running = self._inbox, self._running
        inbox.append((step, argument))
        while inbox and running.acquire(blocking=False):
            actions: Actions = []
            try:
                while inbox:
                    step, argument = inbox.popleft()
                    step(argument, actions)
            except Exception:
                _report()
            finally:
                running.release()
            if actions:
                self._act(actions)

    def _act(self, actions: Actions) -> None:
        me = threading.get_ident()
        outer = self._acting.get(me)
        if outer is not None:
            outer.extend(actions)
            return
        self._acting[me] = waiting = deque(actions)
        actions.clear()
        try:
            while waiting:
                action, arguments = waiting.popleft()
                try:
                    action(*arguments)
                except Exception:
                    _report()
                del action, arguments  # a completion must not be kept alive here
        finally:
            del self._acting[me]


def _report() -> None:
    kind, error, trace = sys.exc_info()
    if kind is not None:
        threading.excepthook(threading.ExceptHookArgs((kind, error, trace, threading.current_thread())))
