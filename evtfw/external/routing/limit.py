"""How many requests one server gets at the same time: found by measuring, after Netflix's *concurrency-limits*.

The rule is `Gradient2Limit` of https://github.com/Netflix/concurrency-limits (Apache-2.0): the limit follows the ratio
of the usual and the present time of a reply. If replies take longer than usual by more than a tolerance, requests queue
up in the server and the limit falls, else it grows by the queue that is allowed. What is refused or runs into its time
limit lowers it by a tenth at once: additive increase and multiplicative decrease as in TCP (`AIMDLimit` there).

Netflix takes a long-term mean as the usual time, which drifts upwards when a queue lasts. Here it is the time with half
as many requests in flight, measured now and then for a moment as TCP's BBR does ("ProbeRTT").
"""

from __future__ import annotations

from typing import Final

INITIAL: Final = 8
LOWEST: Final = 1
HIGHEST: Final = 256

_TOLERANCE: Final = 1.5
_SMOOTHING: Final = 0.2
_QUEUE: Final = 4
_WINDOW: Final = 10
_PROBE_WINDOWS: Final = 50
_BACK_OFF: Final = 0.9
_STEP_NS: Final = 50_000_000


class Limit:
    """An adaptive limit, or a fixed one.

    Args:
        fixed: never changes; 0: adapts itself.
        initial: where it starts.

    Attributes:
        value: how many requests may be in flight.
    """

    __slots__ = (
        "_estimate", "_is_fixed", "_is_probing", "_next_step_ns", "_sum_ns", "_taken", "_to_skip", "_usual_ns",
        "_windows", "value",
    )  # fmt: skip

    def __init__(self, fixed: int = 0, initial: int = INITIAL) -> None:
        self._is_fixed = fixed > 0
        self._estimate = float(fixed or initial)
        self.value = fixed or initial
        self._usual_ns = 0.0
        self._sum_ns = self._taken = self._to_skip = self._windows = self._next_step_ns = 0
        self._is_probing = False

    def succeeded(self, taken_ns: int, in_flight: int) -> None:
        """A reply came after so long, when so many requests were in flight. Ten replies make one measurement."""
        if self._is_fixed:
            return
        if self._to_skip:
            self._to_skip -= 1
            return
        self._sum_ns += taken_ns
        self._taken += 1
        if self._taken >= _WINDOW:
            self._measured(self._sum_ns / self._taken, in_flight)
            self._sum_ns = self._taken = 0

    def refused(self, now_ns: int) -> None:
        """A request was refused or ran into its time limit: one step down, but at most one in 50 ms."""
        if not self._is_fixed and now_ns >= self._next_step_ns:
            self._next_step_ns = now_ns + _STEP_NS
            self._set(self._estimate * _BACK_OFF)

    def _measured(self, present_ns: float, in_flight: int) -> None:
        if self._is_probing:
            self._is_probing = False
            self._usual_ns = present_ns
            self._set(self._estimate)
            return
        if not self._usual_ns:
            self._usual_ns = present_ns
        elif present_ns < self._usual_ns:
            self._usual_ns = (self._usual_ns + present_ns) / 2
        if in_flight < self._estimate / 2:
            self._usual_ns += 0.1 * (present_ns - self._usual_ns)
            return  # the limit is not what limits
        self._windows += 1
        if self._windows % _PROBE_WINDOWS == 0:
            self._is_probing, self._to_skip = True, in_flight
            self.value = max(LOWEST, self.value // 2)
            return
        gradient = max(0.5, min(1.0, _TOLERANCE * self._usual_ns / max(1.0, present_ns)))
        wanted = self._estimate * gradient + _QUEUE
        self._set(self._estimate * (1 - _SMOOTHING) + wanted * _SMOOTHING)

    def _set(self, estimate: float) -> None:
        self._estimate = max(float(LOWEST), min(float(HIGHEST), estimate))
        self.value = int(self._estimate)
