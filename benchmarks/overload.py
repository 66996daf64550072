"""``evtfw serve`` asked for five times what it can do: what it still answers, and how soon it refuses the rest."""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from functools import partial

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.measure import Options, Report, interleaved, ratios
from benchmarks.servers import EvtfwServe

CONCURRENCY, LATENCY_MS = 4, 20
CAPACITY = CONCURRENCY / (LATENCY_MS * 1e-3)
QUEUE = 8
OVERLOAD = 5
SECONDS = 5.0
ROUNDS = 3
GOODPUT_TARGET, REFUSAL_TARGET_MS = 0.9, 10.0
MODEL = f"m=sim:m?latency_ms={LATENCY_MS}&servers={CONCURRENCY}&inputs=x:float32[?,16]&outputs=y:float32[?,16]"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the requests.

    Args:
        goodput: answers per second.
        refusals_ms: how long each refusal took.
        miscounted: difference between what the client and the server counted.
    """

    goodput: float
    refusals_ms: list[float]
    miscounted: int


def measure(options: Options) -> Report:
    seconds = max(1.0, SECONDS * options.scale)
    report = Report(f"overload: a server that can do {CAPACITY:g} requests/s")
    found = interleaved(
        {"peak": partial(_run, 1.0, seconds), "overload": partial(_run, OVERLOAD, seconds)}, options.rounds or ROUNDS
    )
    goodput = {name: [outcome.goodput for outcome in outcomes] for name, outcomes in found.items()}
    report.add("answers/s", "at the capacity", goodput["peak"], "/s", at_least=True)
    report.add("answers/s", f"asked {OVERLOAD} times as much", goodput["overload"], "/s", at_least=True)
    shares = ratios(goodput["overload"], goodput["peak"])
    report.add("goodput", "overload / peak", shares, "", target=GOODPUT_TARGET, at_least=True)
    p99_ms = [statistics.quantiles(outcome.refusals_ms, n=100)[98] for outcome in found["overload"]]
    report.add("refusals", "99% within", p99_ms, "ms", target=REFUSAL_TARGET_MS)
    miscounted = [float(outcome.miscounted) for outcomes in found.values() for outcome in outcomes]
    report.add("counts", "client and server differ by", miscounted, "requests", target=0.0)
    report.note(
        f"evtfw serve with a simulated model ({CONCURRENCY} at a time, {LATENCY_MS} ms each, queue of {QUEUE}), "
        "open loop: requests are sent at their times whatever happened to those before."
    )
    return report


def _run(load: float, seconds: float) -> Outcome:
    with EvtfwServe(["--model", MODEL, "--set", f"queue_size={QUEUE}", "--set", "max_batch=1"]) as server:
        channel = grpc.insecure_channel(server.address)
        with channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            refusals_ms, answered, sent = _send(stub, load * CAPACITY, seconds)
            counts = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="m")).model_stats[0].inference_stats
    counted = counts.success.count + counts.fail.count
    return Outcome(answered / seconds, refusals_ms, abs(sent - counted) + abs(answered - counts.success.count))


def _send(stub: service_pb2_grpc.GRPCInferenceServiceStub, rate: float, seconds: float) -> tuple[list[float], int, int]:
    """Return the times of the refusals in ms, the number of answers, and of requests."""
    request = service_pb2.ModelInferRequest(
        model_name="m",
        inputs=[service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 16])],
        raw_input_contents=[bytes(64)],
    )
    total = int(rate * seconds)
    ended = threading.Semaphore(0)
    answers: list[int] = []
    refusals_ms: list[float] = []

    def done(start_s: float, call: grpc.Future) -> None:
        if call.exception() is None:
            answers.append(1)
        else:
            refusals_ms.append((time.perf_counter() - start_s) * 1e3)
        ended.release()

    begin_s = time.perf_counter()
    for number in range(total):
        wait_s = begin_s + number / rate - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        start_s = time.perf_counter()
        stub.ModelInfer.future(request, timeout=5).add_done_callback(partial(done, start_s))
    for _ in range(total):
        ended.acquire()
    return refusals_ms, len(answers), total
