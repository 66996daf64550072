"""What one external call costs the framework: acquire, hand-over, produce."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue

from benchmarks.measure import Options, Report, cpu_us, differences, interleaved, run_job
from benchmarks.services import AnsweredAtOnce, Ordinary, Service, asking
from evtfw import Module, Path, Process
from evtfw.io.empty_source import EmptySource

AT_ONCE_TARGET_US = 3.0
THREAD_TARGET_US = 8.0
STREAMS = (32, 64)
EVENTS = 100_000
ROUNDS = 7


def measure(options: Options) -> Report:
    report = Report("framework CPU per external call, 1 worker")
    report.note(
        "CPU of the whole process per event of a job with one external module, minus that of the same job with an "
        "ordinary module in its place. The reply from another thread costs that thread's CPU too: it is included."
    )
    report.note(
        "bare ping-pong: two threads pass as many tokens to and fro through two SimpleQueues; CPU of both per round "
        "trip. No design with a thread that answers can do without it. Nothing is subtracted from what is judged."
    )
    events, rounds = options.events(EVENTS), options.rounds or ROUNDS
    with Service() as service:
        remote = asking(service)
        jobs = {
            "ordinary": partial(_job_us, Ordinary, events, 1),
            "at once": partial(_job_us, AnsweredAtOnce, events, 1),
            **{f"thread {n}": partial(_job_us, remote, events, n) for n in STREAMS},
            **{f"ping-pong {n}": partial(ping_pong_us, events, n) for n in STREAMS},
        }
        us = interleaved(jobs, rounds)
    ordinary = us["ordinary"]
    report.add(
        "completed inside acquire", "1 stream", differences(us["at once"], ordinary), "µs", target=AT_ONCE_TARGET_US
    )
    for n in STREAMS:
        group, costs = f"from another thread, {n} streams", differences(us[f"thread {n}"], ordinary)
        report.add(group, "call", costs, "µs", target=THREAD_TARGET_US)
        report.add(group, "bare ping-pong of as many tokens", us[f"ping-pong {n}"], "µs")
        report.add(group, "call without the ping-pong", differences(costs, us[f"ping-pong {n}"]), "µs")
    return report


def _job_us(module: type[Module], events: int, streams: int) -> float:
    process = Process("CALLS")
    process.source = EmptySource(events=events)
    process.module = module()
    process.path = Path(process.module)
    return run_job(process, streams=streams).cpu_s * 1e6 / events


def ping_pong_us(trips: int, in_flight: int) -> float:
    """CPU per round trip of tokens between two threads."""
    there: SimpleQueue[int | None] = SimpleQueue()
    back: SimpleQueue[int] = SimpleQueue()

    def answer() -> None:
        while (token := there.get()) is not None:
            back.put(token)

    def ask() -> None:
        for token in range(in_flight):
            there.put(token)
        for _ in range(trips - in_flight):
            there.put(back.get())
        for _ in range(in_flight):
            back.get()
        there.put(None)

    def run() -> None:
        answering = threading.Thread(target=answer)
        answering.start()
        ask()
        answering.join()

    return cpu_us(run) / trips
