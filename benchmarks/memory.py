"""Memory of a long job: whether it grows with the events."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Options, Report, run_job
from benchmarks.services import Service, asking
from evtfw import Event, Input, Output, Parameter, Path, Process, Producer
from evtfw.io.empty_source import EmptySource
from evtfw.observe.memory import Memory, MemoryObserver

EVENTS = 100_000
VALUES = 100
COPIES = 20
THREADS, STREAMS = 2, 8
SLOPE_TARGET_MB = 1.0
ROUNDS = 3
MEGABYTE = 1e6


class Repeated(Producer):
    """Makes an array of its own, of another size in each event; the source's read-ahead stays small beside it."""

    values = Input[NDArray[np.float32]]("numbers, float32 [n]")
    copies = Parameter[int]("how often each is repeated")
    repeated = Output[NDArray[np.float32]]("the numbers, float32 [n * copies]")

    def produce(self, event: Event) -> None:
        event[self.repeated] = np.repeat(event[self.values], self.copies)


def measure(options: Options) -> Report:
    events = options.events(EVENTS)
    report = Report(f"resident memory over {events} events, {STREAMS} streams")
    found = [_in_fresh_process(events) for _ in range(options.rounds or ROUNDS)]
    slopes = [(memory.growth_bytes or 0.0) / MEGABYTE for memory in found]
    report.add("memory", "growth per 10 000 events", slopes, "MB", target=SLOPE_TARGET_MB)
    report.add("memory", "peak", [memory.peak_bytes / MEGABYTE for memory in found], "MB")
    report.note(
        f"A job with one external module and arrays of {VALUES * COPIES} numbers and more, in a process of its own. "
        "Resident set from /proc/self/statm ten times a second; slope of a straight line after the first fifth."
    )
    return report


def _in_fresh_process(events: int) -> Memory:
    """What earlier benchmarks freed would otherwise hide growth."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, events).result()


def run(events: int) -> Memory:
    process = Process("MEMORY")
    process.source = EmptySource(events=events, values_mean=VALUES)
    process.first = Repeated(values="source:values", copies=COPIES)
    with Service() as service:
        process.remote = asking(service)()
        process.second = Repeated(values="first", copies=2)
        process.path = Path(process.first, process.remote, process.second)
        observer = MemoryObserver()
        run_job(process, observer, threads=THREADS, streams=STREAMS)
    return observer.memory()
