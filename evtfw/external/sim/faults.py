"""What goes wrong with a simulated service."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Final, Literal, TypeAlias, get_args

WhenDown: TypeAlias = Literal["refuse", "stop"]
WHEN_DOWN: tuple[WhenDown, ...] = get_args(WhenDown)

NEVER_NS: Final = 1 << 62


@dataclasses.dataclass(frozen=True, slots=True)
class FailureRates:
    """The part of the requests that fails in each way; which ones, the seed decides.

    Args:
        unavailable: refused at once with `ServerUnavailable`.
        deadline: `DeadlineExceeded` after the time that the request would have taken.
        hang: never answered; the server is held until the request is given up.
        bad_reply: the reply has a wrong shape, which is noticed: `BadReply`.
        nan: one value of each output of floating-point numbers is NaN; the backend's ``nonfinite`` says what follows.
        drop: the completion is let go of without an answer: `CompletionDropped`.

    Raises:
        ValueError: a rate is no number from 0 to 1, or their sum is above 1.
    """

    unavailable: float = 0.0
    deadline: float = 0.0
    hang: float = 0.0
    bad_reply: float = 0.0
    nan: float = 0.0
    drop: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in self.as_dict().items():
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} is a part of the requests, from 0 to 1, not {rate}")
        if sum(self.as_dict().values()) > 1 + 1e-9:
            raise ValueError(f"more than all requests would fail: {self}")

    def as_dict(self) -> dict[str, float]:
        """Return the rates by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def choose(self, uniform: float) -> str:
        """Return the kind of failure for a number drawn from [0, 1); empty for none."""
        for (name, rate), edge in zip(
            self.as_dict().items(), itertools.accumulate(self.as_dict().values()), strict=True
        ):
            if rate and uniform < edge:
                return name
        return ""


@dataclasses.dataclass(frozen=True, slots=True)
class Outage:
    """When the service is down, in seconds since it was opened.

    Args:
        from_s: start. 0: it cannot be reached when the job starts, either.
        for_s: how long.
        every_s: again after each such time, a flapping service; 0: once.
        when_down: ``refuse``: requests fail with `ServerUnavailable`, also those that are being worked on when it
            starts, as if the service had been killed. ``stop``: nothing goes on until the end, as if it had been
            stopped.

    Raises:
        ValueError: it would never be up, or a time is negative.
    """

    from_s: float = 0.0
    for_s: float = 0.0
    every_s: float = 0.0
    when_down: WhenDown = "refuse"

    def __post_init__(self) -> None:
        if not all(0 <= value < math.inf for value in (self.from_s, self.for_s, self.every_s)):
            raise ValueError(f"the times of an outage are numbers not below 0: {self}")
        if self.every_s and self.every_s <= self.for_s:
            raise ValueError(f"down for {self.for_s:g} s every {self.every_s:g} s: it would never be up")
        if self.when_down not in WHEN_DOWN:
            raise ValueError(f"an outage can {' or '.join(WHEN_DOWN)}, not '{self.when_down}'")

    def next_down_ns(self, time_ns: int) -> tuple[int, int]:
        """Return begin and end of the outage that is on, or else of the next one; `NEVER_NS` if there is none."""
        begin_ns, length_ns, every_ns = (round(value * 1e9) for value in (self.from_s, self.for_s, self.every_s))
        if not length_ns:
            return NEVER_NS, NEVER_NS
        if time_ns >= begin_ns + length_ns:
            if not every_ns:
                return NEVER_NS, NEVER_NS
            begin_ns += every_ns * ((time_ns - begin_ns) // every_ns)
            if time_ns >= begin_ns + length_ns:
                begin_ns += every_ns
        return begin_ns, begin_ns + length_ns

    def is_down(self, time_ns: int) -> bool:
        """Whether it is down at this time."""
        return self.next_down_ns(time_ns)[0] <= time_ns

    def finish_ns(self, start_ns: int, service_ns: int) -> tuple[int, bool]:
        """Return when work ends that starts now and takes so long, and whether an outage ended it."""
        time_ns = start_ns
        while True:
            begin_ns, end_ns = self.next_down_ns(time_ns)
            # What ends just when the outage begins did end.
            if time_ns + service_ns <= begin_ns:
                return time_ns + service_ns, False
            if self.when_down == "refuse":
                return begin_ns, True
            service_ns -= max(0, begin_ns - time_ns)
            time_ns = end_ns
