"""The interpreter's switch interval: what a short one costs a job bound by Python, and what replies gain."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.measure import Options, Report, interleaved, ratios, run_job
from benchmarks.services import PythonWork, Service, asking, rounds_for, sum_rounds
from evtfw import Path, Process
from evtfw.io.empty_source import EmptySource

INTERVALS_S = (0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001, 0.00005)
LATENCY_S = 0.005
WORK_S = 0.001
THREADS, STREAMS = 2, 16
EVENTS = 1000
ROUNDS = 5


def measure(options: Options) -> Report:
    report = Report(f"the switch interval, {THREADS} threads bound by Python")
    report.note(
        f"Throughput of a job with {WORK_S * 1e3:g} ms of a Python loop per event, relative to Python's default of 5 "
        f"ms. Lateness: in the same job with a service that takes {LATENCY_S * 1e3:g} ms beside, how long after it is "
        "due the service's thread gets the interpreter and answers. evtfw run sets 0.5 ms unless told otherwise."
    )
    events, rounds = options.events(EVENTS), options.rounds or ROUNDS
    rates = interleaved({str(s): partial(_rate, events, s) for s in INTERVALS_S}, rounds)
    late_ms = interleaved({str(s): partial(_lateness_ms, events, s) for s in INTERVALS_S}, rounds)
    for seconds in INTERVALS_S:
        group, name = f"{seconds * 1e3:g} ms", str(seconds)
        report.add(group, "throughput", ratios(rates[name], rates[str(INTERVALS_S[0])]), "of default", at_least=True)
        for part, percent in (("median", 0), ("99th percentile", 1)):
            report.add(group, f"lateness of replies, {part}", [found[percent] for found in late_ms[name]], "ms")
    return report


def _rate(events: int, interval_s: float) -> float:
    process = _make_process(events, interval_s)
    process.path = Path(process.work)
    return events / run_job(process, threads=THREADS, streams=STREAMS).wall_s


def _lateness_ms(events: int, interval_s: float) -> tuple[float, float]:
    process = _make_process(events, interval_s)
    with Service(LATENCY_S, keeps_lateness=True) as service:
        process.remote = asking(service)()
        process.path = Path(process.remote, process.work)
        run_job(process, threads=THREADS, streams=STREAMS)
    median, late = np.percentile(service.lateness_ns, [50, 99]) * 1e-6
    return float(median), float(late)


def _make_process(events: int, interval_s: float) -> Process:
    process = Process("PYTHON")
    process.source = EmptySource(events=events)
    process.work = PythonWork(rounds=rounds_for(sum_rounds, WORK_S))
    process.options.switch_interval_s = interval_s
    return process
