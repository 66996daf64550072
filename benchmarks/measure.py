"""How the benchmarks measure: candidates take turns, figures are medians over the rounds, targets are ratios."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from evtfw import Job, JobResult, Observer, Process

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to measure.

    Args:
        rounds: turns of each candidate; None for what the benchmark finds enough.
        scale: factor on numbers of events; small ones are for tests only.
        files: input of the whole job instead of the shipped sample.
    """

    rounds: int | None = None
    scale: float = 1.0
    files: tuple[str, ...] = ()

    def events(self, number: int) -> int:
        return max(8, int(number * self.scale))


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Args:
        group, name: row of the table.
        samples: one value for each round.
        target: the median must be at most, or with ``at_least`` at least, so much.
    """

    group: str
    name: str
    samples: Sequence[float]
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        """The sample that other programs on the machine disturbed least."""
        return max(self.samples) if self.at_least else min(self.samples)

    @property
    def ratio(self) -> float | None:
        return self.value / self.target if self.target else None

    @property
    def passed(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def to_dict(self) -> dict[str, Any]:
        judged = {"value": self.value, "best": self.best, "ratio": self.ratio, "passed": self.passed}
        return {**dataclasses.asdict(self), "samples": list(self.samples), **judged}


@dataclasses.dataclass
class Report:
    """What a benchmark found.

    Args:
        notes: what a reader must know to judge the figures.
    """

    title: str
    figures: list[Figure] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, group: str, name: str, samples: Sequence[float], unit: str, **target: Any) -> None:
        self.figures.append(Figure(group, name, samples, unit, **target))

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def passed(self) -> bool:
        return all(figure.passed is not False for figure in self.figures)

    def to_dict(self) -> dict[str, Any]:
        return {"title": self.title, "figures": [f.to_dict() for f in self.figures], "notes": self.notes}


def interleaved(candidates: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run each candidate once per round, in an order that turns, so that what else the machine does hits all alike."""
    names = list(candidates)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            results[name].append(candidates[name]())
    return results


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratios round by round: drifts of the machine's speed cancel."""
    return [a / b for a, b in zip(above, below, strict=True)]


def differences(whole: Sequence[float], part: Sequence[float]) -> list[float]:
    return [w - p for w, p in zip(whole, part, strict=True)]


def cpu_us(function: Callable[[], object]) -> float:
    """CPU time of the whole process during a call, in microseconds."""
    start_s = time.process_time()
    function()
    return (time.process_time() - start_s) * 1e6


def wall_s(function: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    function()
    return time.perf_counter() - start_s


@contextlib.contextmanager
def switch_interval(seconds: float | None) -> Iterator[None]:
    """Set the interpreter's switch interval for a while, as ``evtfw run`` does for a job."""
    before = sys.getswitchinterval()
    if seconds is not None:
        sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def run_job(process: Process, *observers: Observer, threads: int = 1, streams: int = 1) -> JobResult:
    """Run a process to its end with the switch interval that ``evtfw run`` sets; its failure is the benchmark's."""
    process.set_options(threads=threads, streams=streams)
    job = Job(process, observers)
    with switch_interval(process.options.switch_interval_s):
        result = job.run()
    if result.error is not None:
        raise result.error
    return result
