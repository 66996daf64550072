"""Filters on the number of jets and on scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Parameter
from evtfw.core.event import Event
from evtfw.core.module import Filter
from evtfw.modules.jets import Jets


class JetCountFilter(Filter):
    """Passes events with enough jets, and not too many."""

    at_least = Parameter[int]("smallest number of jets", default=1, ge=0)
    at_most = Parameter[int | None]("largest number of jets; None: no limit", default=None, ge=0)

    jets = Input[Jets]("jets to be counted", default="jets")

    def filter(self, event: Event) -> bool:
        """Return whether the number of jets is in the range."""
        count = len(event[self.jets])
        return count >= self.at_least and (self.at_most is None or count <= self.at_most)


class ScoreFilter(Filter):
    """Passes events with enough objects that score high."""

    score_min = Parameter[float]("lowest score that counts", default=0.9)
    at_least = Parameter[int]("how many objects must reach it", default=1, ge=1)

    scores = Input[NDArray[np.float32]]("one score per object, float32 [n]")

    def filter(self, event: Event) -> bool:
        """Return whether enough scores reach the lowest one that counts."""
        return int(np.count_nonzero(event[self.scores] >= self.score_min)) >= self.at_least
