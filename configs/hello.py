"""The smallest job with modules of one's own: numbers are made up, averaged, selected and counted. It needs no files.

evtfw run configs/hello.py
evtfw run configs/hello.py -- --events 100000 --mean-min 0.55
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evtfw import Accumulator, Analyzer, Arguments, Event, Filter, Input, Output, Parameter, Path, Process, Producer
from evtfw.io.empty_source import EmptySource


class Args(Arguments):
    """Average made-up numbers."""

    events: int = Field(1000, ge=0, description="how many events to make up")
    mean_min: float = Field(0.5, ge=0, le=1, description="lowest mean that passes")


class Mean(Producer):
    """The mean of the numbers of an event."""

    numbers = Input[NDArray[np.float32]]("numbers, float32 [n]")
    mean = Output[float]("their mean; 0 if there are none")

    def produce(self, event: Event) -> None:
        numbers = event[self.numbers]
        event[self.mean] = float(numbers.mean()) if len(numbers) else 0.0


class AtLeast(Filter):
    """Passes events whose value is large enough."""

    low = Parameter[float]("lowest value that passes")
    value = Input[float]("value to be looked at")

    def filter(self, event: Event) -> bool:
        return event[self.value] >= self.low


def make_counts(_: Any) -> NDArray[np.int64]:
    return np.zeros(10, np.int64)


class Counts(Analyzer):
    """Counts values in ten bins from 0 to 1."""

    value = Input[float]("value to be counted, 0 to 1")
    counts = Accumulator[NDArray[np.int64]]("events in each bin", make=make_counts)

    def analyze(self, event: Event) -> None:
        self.counts[min(int(event[self.value] * 10), 9)] += 1


args = Args.parse()

process = Process("HELLO")
process.source = EmptySource(events=args.events, values_mean=8.0)
process.mean = Mean(numbers="source:values")
process.large = AtLeast(value="mean", low=args.mean_min)
process.counts = Counts(value="mean")
process.path = Path(process.mean, process.large, process.counts)
