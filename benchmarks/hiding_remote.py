"""Hiding a service over gRPC that takes 50 ms: throughput of the ordinary modules against the same job without it."""

from __future__ import annotations

from functools import partial

from benchmarks.measure import Options, Report, interleaved, ratios, run_job
from benchmarks.servers import Ask, EvtfwServe
from benchmarks.services import LockFreeWork, Ordinary, hash_rounds, rounds_for
from evtfw import Path, Process
from evtfw.io.empty_source import EmptySource

LATENCY_MS = 50
WORK_S = 0.004
THREADS = 2
STREAMS = round(1.5 * THREADS * (1 + LATENCY_MS * 1e-3 / WORK_S))
EVENTS = 3000
ROUNDS = 5
TARGET = 0.95
MODEL = f"m=sim:m?latency_ms={LATENCY_MS}&servers={4 * STREAMS}&inputs=x:float32[?,16]&outputs=y:float32[?,16]"


def measure(options: Options) -> Report:
    events, rounds = options.events(EVENTS), rounds_for(hash_rounds, WORK_S)
    report = Report(f"a remote service of {LATENCY_MS} ms beside {WORK_S * 1e3:g} ms of work, {THREADS} threads")
    with EvtfwServe(["--model", MODEL]) as server:
        url = f"triton+grpc://{server.address}/m"
        rates = interleaved(
            {"with": partial(_rate, events, rounds, url), "without": partial(_rate, events, rounds, "")},
            options.rounds or ROUNDS,
        )
    report.add("events/s", "with the service", rates["with"], "/s", at_least=True)
    report.add("events/s", "without external work", rates["without"], "/s", at_least=True)
    report.add("with / without", "", ratios(rates["with"], rates["without"]), "", target=TARGET, at_least=True)
    report.note(
        f"{events} events, {STREAMS} = 1.5 T (1 + L/W) streams. The server, evtfw serve with a simulated model, is a "
        "process of its own on the same two cores; the first latency and the client's and the server's CPU count."
    )
    return report


def _rate(events: int, rounds: int, url: str) -> float:
    process = Process("HIDING")
    process.source = EmptySource(events=events)
    process.ask = Ask(backend=url, values=16) if url else Ordinary()
    process.work = LockFreeWork(number="ask", rounds=rounds)
    process.path = Path(process.ask, process.work)
    return events / run_job(process, threads=THREADS, streams=STREAMS).wall_s
