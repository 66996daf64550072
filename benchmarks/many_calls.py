"""100 000 calls over gRPC: whether the client's or the server's memory grows."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path as FilePath
from typing import ClassVar

from benchmarks.measure import Options, Report, run_job
from benchmarks.servers import Ask, EvtfwServe
from evtfw import Analyzer, Event, Input, Parameter, Path, Process
from evtfw.io.empty_source import EmptySource

CALLS = 100_000
WARM_UP = 0.2
THREADS, STREAMS = 1, 16
CLIENT_TARGET_MB, SERVER_TARGET = 1.0, 0.02
MODEL = "m=mock:m?inputs=x:float32[?,16]&outputs=y:float32[?,16]"


def measure(options: Options) -> Report:
    calls = options.events(CALLS)
    report = Report(f"memory of {calls} calls over gRPC")
    client_mb, server_shares = [], []
    for _ in range(options.rounds or 1):
        fresh = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        with EvtfwServe(["--model", MODEL]) as server, fresh as pool:
            (client, served), (client_then, served_then) = pool.submit(
                _run, server.address, server.process.pid, calls
            ).result()
        client_mb.append((client_then - client) / 1e6)
        server_shares.append(served_then / served - 1)
    report.add("growth", "client", client_mb, "MB", target=CLIENT_TARGET_MB)
    report.add("growth", "server, share of its memory", server_shares, "", target=SERVER_TARGET)
    report.note(f"Resident memory in one job, after {calls} calls less that after {WARM_UP:.0%} as many before them.")
    return report


class Meter(Analyzer):
    """Notes the memory of this process and of the server when a job begins to be measured, and when it ends."""

    y = Input[object]("waited for", default="ask")
    server = Parameter[int]("process id of the server")
    first = Parameter[int]("the event to begin with")
    last = Parameter[int]("the event to end with")
    found: ClassVar[list[tuple[int, int]]] = []

    def analyze(self, event: Event) -> None:
        if event.index in (self.first, self.last):
            self.found.append((_resident_bytes("self"), _resident_bytes(str(self.server))))


def _run(address: str, server: int, calls: int) -> list[tuple[int, int]]:
    before = round(calls * WARM_UP)
    process = Process("CALLS")
    process.source = EmptySource(events=before + calls)
    process.ask = Ask(backend=f"triton+grpc://{address}/m", values=16)
    process.meter = Meter(server=server, first=before, last=before + calls - 1)
    process.path = Path(process.ask, process.meter)
    run_job(process, threads=THREADS, streams=STREAMS)
    return Meter.found


def _resident_bytes(process: str) -> int:
    return int(FilePath(f"/proc/{process}/statm").read_text().split()[1]) * 4096
