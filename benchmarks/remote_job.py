"""A job's throughput on a real tritonserver against what perf_analyzer gets from it with as many in flight."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path as FilePath

from benchmarks.measure import Options, Report, interleaved, ratios, run_job
from benchmarks.servers import Ask, load
from evtfw import Path, Process
from evtfw.io.empty_source import EmptySource
from tests.peers.tritonserver import real_tritonserver

VALUES = 37_500
SERVICE_S = 0.001
CONCURRENCY = 16
THREADS = 1
EVENTS = 4000
ROUNDS = 3
TARGET = 0.7


def measure(options: Options) -> Report:
    events = options.events(EVENTS)
    report = Report(f"a job on tritonserver, {VALUES * 4 // 1000} kB each way, {SERVICE_S * 1e3:g} ms of service")
    with tempfile.TemporaryDirectory() as folder, real_tritonserver(FilePath(folder)) as server:
        server.slow(SERVICE_S)
        seconds = max(0.5, 3.0 * options.scale)
        found = interleaved(
            {
                "job": partial(_rate, server.grpc_address, events),
                "perf_analyzer": lambda: (
                    load(server.grpc_address, "echo", CONCURRENCY, [f"x:{VALUES}"], seconds=seconds).rate
                ),
            },
            options.rounds or ROUNDS,
        )
    report.add("requests/s", "evtfw job", found["job"], "/s", at_least=True)
    report.add("requests/s", "perf_analyzer", found["perf_analyzer"], "/s", at_least=True)
    shares = ratios(found["job"], found["perf_analyzer"])
    report.add("job / perf_analyzer", "", shares, "", target=TARGET, at_least=True)
    report.note(
        f"{events} events, {CONCURRENCY} streams, and as many requests in flight of perf_analyzer --async; model "
        "'echo' of the python backend. Client and server share two cores. The job's rate has its start and end in it."
    )
    return report


def _rate(address: str, events: int) -> float:
    process = Process("REMOTE")
    process.source = EmptySource(events=events)
    process.ask = Ask(backend=f"triton+grpc://{address}/echo", values=VALUES, is_batched=False)
    process.path = Path(process.ask)
    return events / run_job(process, threads=THREADS, streams=CONCURRENCY).wall_s
