"""100 000 calls over gRPC: whether the client's or the server's memory grows."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path as FilePath

from benchmarks.measure import Options, Report, run_job
from benchmarks.servers import Ask, EvtfwServe
from evtfw import Path, Process
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
            client, served = pool.submit(_run, server.address, server.process.pid, calls).result()
        client_mb.append((client[1] - client[0]) / 1e6)
        server_shares.append(served[1] / served[0] - 1)
    report.add("growth", "client", client_mb, "MB", target=CLIENT_TARGET_MB)
    report.add("growth", "server, share of its memory", server_shares, "", target=SERVER_TARGET)
    report.note(f"Resident memory after {calls} calls less that after the {WARM_UP:.0%} of them that came before.")
    return report


def _run(address: str, server: int, calls: int) -> tuple[tuple[int, int], tuple[int, int]]:
    _job(address, round(calls * WARM_UP))
    before = _resident_bytes("self"), _resident_bytes(str(server))
    _job(address, calls)
    return (before[0], _resident_bytes("self")), (before[1], _resident_bytes(str(server)))


def _job(address: str, calls: int) -> None:
    process = Process("CALLS")
    process.source = EmptySource(events=calls)
    process.ask = Ask(backend=f"triton+grpc://{address}/m", values=16)
    process.path = Path(process.ask)
    run_job(process, threads=THREADS, streams=STREAMS)


def _resident_bytes(process: str) -> int:
    return int(FilePath(f"/proc/{process}/statm").read_text().split()[1]) * 4096
