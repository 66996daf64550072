"""Replies that are kept back until the device would have answered."""

from __future__ import annotations

from evtfw.core.clock import Clock, Timer
from evtfw.core.completion import Completion
from evtfw.external.contract import Reply
from evtfw.external.delivery import deliver


class Pacer:
    """Hands replies over at their time, never earlier.

    Args:
        clock: of the job.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[_Held, None] = {}

    def hold(self, done: Completion, reply: Reply, left_ns: int) -> None:
        """Resolve ``done`` after so many nanoseconds, unless it is given up before."""
        held = _Held(self._held, done, reply)
        self._held[held] = None
        held.timer = self._clock.call_later((left_ns + 0.5) * 1e-9, held.come)  # clocks cut off parts of nanoseconds
        done.on_cancel(held)
        if done.is_done:
            held.cancel()

    def close(self, error: BaseException) -> None:
        """Fail all that is held."""
        for held in list(self._held):
            held.end(error)


class _Held:
    """A reply that waits for the time at which the device would have given it."""

    __slots__ = ("__weakref__", "_others", "_reply", "done", "timer")

    def __init__(self, others: dict[_Held, None], done: Completion, reply: Reply) -> None:
        self._others = others
        self._reply = reply
        self.done = done
        self.timer: Timer | None = None

    def come(self) -> None:
        """The time has come."""
        self.end(self._reply)

    def end(self, outcome: Reply | BaseException) -> None:
        """Hand over the outcome, unless another one was."""
        if self._others.pop(self, self) is None:
            self._forget_timer()
            deliver(self.done, outcome)

    def cancel(self) -> None:
        """Nobody waits any more; see `evtfw.core.completion.Cancellable`."""
        self._others.pop(self, None)
        self._forget_timer()

    def _forget_timer(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
