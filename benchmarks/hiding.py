"""Hiding a service's latency: how much of the ideal throughput is left while each event waits 10 ms for a reply."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.measure import Options, Report, interleaved, ratios, run_job, switch_interval, wall_s
from benchmarks.services import LockFreeWork, Service, asking, hash_rounds, rounds_for
from evtfw import Path, Process
from evtfw.io.empty_source import EmptySource

LATENCY_S = 0.010
WORK_S = 0.001
TICK_S = 0.001
"""Of the simulated service: replies come up to so much later, in groups."""
THREADS = 2
STREAMS = round(1.5 * THREADS * (1 + LATENCY_S / WORK_S))
EVENTS = 6000
ROUNDS = 9
TARGET = 0.97


def measure(options: Options) -> Report:
    report = Report(f"hiding {LATENCY_S * 1e3:g} ms behind {WORK_S * 1e3:g} ms of work, {THREADS} threads")
    report.note(
        f"ideal: {THREADS} plain threads do the same work without any service. The others ask a service that answers "
        f"after {LATENCY_S * 1e3:g} ms (one thread with a queue), with {STREAMS} = 1.5 T (1 + L/W) in flight, "
        "and do the work when the reply is there. Start and end of the job, the first latency included, count as "
        "part of it."
    )
    events, rounds = options.events(EVENTS), rounds_for(hash_rounds, WORK_S)
    rates = interleaved(
        {
            "ideal": partial(_rate, events, partial(_plain_threads, events, rounds)),
            "evtfw": partial(_evtfw_rate, events, rounds),
            "threads": partial(_rate, events, partial(_thread_per_stream, events, rounds)),
        },
        options.rounds or ROUNDS,
    )
    report.add("events/s", "ideal: no service", rates["ideal"], "/s", at_least=True)
    report.add("events/s", f"evtfw, {STREAMS} streams", rates["evtfw"], "/s", at_least=True)
    report.add("events/s", f"{STREAMS} blocking threads, by hand", rates["threads"], "/s", at_least=True)
    report.add("of the ideal", "evtfw", ratios(rates["evtfw"], rates["ideal"]), "", target=TARGET, at_least=True)
    report.add("of the ideal", "blocking threads", ratios(rates["threads"], rates["ideal"]), "", at_least=True)
    return report


def _rate(events: int, run: Callable[[], object]) -> float:
    with switch_interval(0.0005):  # that of a job
        return events / wall_s(run)


def make_process(service: Service, events: int, rounds: int) -> Process:
    process = Process("HIDING")
    process.source = EmptySource(events=events)
    process.remote = asking(service)()
    process.work = LockFreeWork(number="remote", rounds=rounds)
    process.path = Path(process.remote, process.work)
    return process


def _evtfw_rate(events: int, rounds: int) -> float:
    with Service(LATENCY_S, tick_s=TICK_S) as service:
        result = run_job(make_process(service, events, rounds), threads=THREADS, streams=STREAMS)
    return events / result.wall_s


def _plain_threads(events: int, rounds: int) -> None:
    numbers = itertools.count()

    def work() -> None:
        while next(numbers) < events:
            hash_rounds(rounds)

    _run_threads(work, THREADS)


class _Wait:
    """A completion that a thread waits for."""

    def __init__(self) -> None:
        self._semaphore = threading.Semaphore(0)
        self.wait = self._semaphore.acquire

    def resolve(self, _: Any) -> bool:
        self._semaphore.release()
        return True


def _thread_per_stream(events: int, rounds: int) -> None:
    numbers = itertools.count()
    with Service(LATENCY_S, tick_s=TICK_S) as service:

        def work() -> None:
            done = _Wait()
            while next(numbers) < events:
                service.submit(done)
                done.wait()
                hash_rounds(rounds)

        _run_threads(work, STREAMS)


def _run_threads(function: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
