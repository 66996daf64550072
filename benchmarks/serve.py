"""``evtfw serve`` against tritonserver with its python backend: the same ONNX model, driven by perf_analyzer."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measure import Options, Report, interleaved, ratios
from benchmarks.servers import EvtfwServe, load
from tests.peers.tritonserver import MAX_BATCH_SIZE, real_tritonserver

CONCURRENCIES = (1, 8, 32)
INSTANCES = 2
ROUNDS = 3
SHAPES = ("image:64,64,1",)
TARGET = 1.0


def measure(options: Options) -> Report:
    report = Report("evtfw serve and tritonserver, model toptag, perf_analyzer over gRPC")
    model = f"toptag=cpu:toptag?threads={INSTANCES}&max_batch={MAX_BATCH_SIZE}"
    seconds = max(0.5, 3.0 * options.scale)
    with (
        tempfile.TemporaryDirectory() as folder,
        real_tritonserver(Path(folder), models=("toptag",), instances=INSTANCES) as triton,
        EvtfwServe(["--model", model]) as ours,
    ):
        for concurrency in CONCURRENCIES:
            candidates = {
                name: partial(load, address, "toptag", concurrency, SHAPES, seconds=seconds)
                for name, address in (("evtfw serve", ours.address), ("tritonserver", triton.grpc_address))
            }
            found = interleaved(candidates, options.rounds or ROUNDS)
            rates = {name: [point.rate for point in points] for name, points in found.items()}
            p99_ms = {name: [point.p99_ms for point in points] for name, points in found.items()}
            group = f"concurrency {concurrency}"
            for name in found:
                report.add(group, f"{name}, rate", rates[name], "/s", at_least=True)
                report.add(group, f"{name}, p99", p99_ms[name], "ms")
            rate_ratios, p99_ratios = (ratios(x["evtfw serve"], x["tritonserver"]) for x in (rates, p99_ms))
            report.add(group, "ratio of rates", rate_ratios, "", target=TARGET, at_least=True)
            report.add(group, "ratio of p99", p99_ratios, "", target=TARGET)
    report.note(
        "tritonserver: a python-backend model that runs onnxruntime, one core each call, dynamic batching on. Both "
        "servers stay up, each in a session of its own; the one that is not driven idles."
    )
    return report
