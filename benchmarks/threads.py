"""More threads than cores: they must not cost anything, busy or idle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.measure import Options, Report, interleaved, ratios, run_job
from benchmarks.services import PythonWork, Service, asking, rounds_for, sum_rounds
from benchmarks.toptag_runs import input_files, run_evtfw
from evtfw import Path, Process
from evtfw.io.empty_source import EmptySource

FEW, MANY, STREAMS = 2, 8, 4
NOT_SLOWER = 0.97
"""Differences below this are noise."""
IDLE_TARGET_PERCENT = 2.0
EVENTS = 10_000
WORK_S = 0.0002
LATENCY_S = 0.5
ROUNDS = 5


def measure(options: Options) -> Report:
    report = Report(f"--threads {MANY} against --threads {FEW}, --streams {STREAMS}")
    rounds = options.rounds or ROUNDS
    with input_files(options.files) as files:
        _compare(report, "toptag", lambda threads: run_evtfw(files, threads, STREAMS)["events_per_s"], rounds)
    _compare(report, "Python-bound", partial(_python_rate, options.events(EVENTS)), rounds)
    idle = [_idle_percent(options.events(16)) for _ in range(rounds)]
    report.add("idle", f"CPU of {MANY} threads that wait for a service", idle, "%", target=IDLE_TARGET_PERCENT)
    report.note(
        f"Python-bound: {WORK_S * 1e6:g} µs of a Python loop per event. Idle: a job whose service takes {LATENCY_S:g} "
        "s; CPU of the whole process, begin and end included, as a share of one core."
    )
    report.note(f"Not slower means at least {NOT_SLOWER:g}: less is noise.")
    return report


def _compare(report: Report, name: str, rate: Callable[[int], float], rounds: int) -> None:
    rates = interleaved({str(n): partial(rate, n) for n in (FEW, MANY)}, rounds)
    for n in (FEW, MANY):
        report.add(f"{name}, events/s", f"{n} threads", rates[str(n)], "/s", at_least=True)
    shares = ratios(rates[str(MANY)], rates[str(FEW)])
    report.add(f"{name}, events/s", f"{MANY} against {FEW}", shares, "", target=NOT_SLOWER, at_least=True)


def _python_rate(events: int, threads: int) -> float:
    process = Process("PYTHON")
    process.source = EmptySource(events=events)
    process.work = PythonWork(rounds=rounds_for(sum_rounds, WORK_S))
    process.path = Path(process.work)
    return events / run_job(process, threads=threads, streams=STREAMS).wall_s


def _idle_percent(events: int) -> float:
    process = Process("IDLE")
    process.source = EmptySource(events=events)
    with Service(LATENCY_S) as service:
        process.remote = asking(service)()
        process.path = Path(process.remote)
        result = run_job(process, threads=MANY, streams=STREAMS)
    return 100 * result.cpu_s / result.wall_s
