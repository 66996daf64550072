"""Hiding a service over gRPC that takes 50 ms: throughput of the ordinary modules against the same job without it."""

from __future__ import annotations

from functools import partial

from benchmarks.measure import Options, Report, interleaved, ratios, run_job
from benchmarks.servers import Ask, EvtfwServe
from benchmarks.services import LockFreeWork, Ordinary, hash_rounds, rounds_for
from evtfw import Path, Process
from evtfw.io.empty_source import EmptySource

LATENCY_MS = 50
WORK_MS = {20: 0.95, 4: None}
"""What the ordinary modules of an event take, and the target. The shorter, the more the CPU of the call counts."""
THREADS = 2
SECONDS = 12
ROUNDS = 5
MODEL = f"m=sim:m?latency_ms={LATENCY_MS}&inputs=x:float32[?,16]&outputs=y:float32[?,16]"


def measure(options: Options) -> Report:
    report = Report(f"a remote service of {LATENCY_MS} ms beside ordinary modules, {THREADS} threads")
    with EvtfwServe(["--model", MODEL]) as server:
        url = f"triton+grpc://{server.address}/m"
        for work_ms, target in WORK_MS.items():
            events = options.events(round(SECONDS * THREADS * 1e3 / work_ms))
            streams = round(1.5 * THREADS * (1 + LATENCY_MS / work_ms))
            job = partial(_rate, events, streams, rounds_for(hash_rounds, work_ms * 1e-3))
            rates = interleaved({"with": partial(job, url), "without": partial(job, "")}, options.rounds or ROUNDS)
            group = f"{work_ms} ms of work"
            report.add(group, "with the service", rates["with"], "events/s", at_least=True)
            report.add(group, "without external work", rates["without"], "events/s", at_least=True)
            shares = ratios(rates["with"], rates["without"])
            report.add(group, "with / without", shares, "", target=target, at_least=True)
            report.note(f"{group}: {events} events, {streams} = 1.5 T (1 + L/W) streams.")
    report.note(
        "The server, evtfw serve with a simulated model, is a process of its own on the same two cores: its CPU, the "
        "client's and the first latency count against us."
    )
    return report


def _rate(events: int, streams: int, rounds: int, url: str) -> float:
    process = Process("HIDING")
    process.source = EmptySource(events=events)
    process.ask = Ask(backend=url, values=16) if url else Ordinary()
    process.work = LockFreeWork(number="ask", rounds=rounds)
    process.path = Path(process.ask, process.work)
    return events / run_job(process, threads=THREADS, streams=streams).wall_s
