"""Client CPU per request to a real tritonserver, from inside a job, beside bare tritonclient.

tritonclient, and gRPC with it, is imported by the processes of its scripts only: they have it as it comes, the job as
evtfw sets it up.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Options, Report, cpu_us, interleaved, ratios, run_job
from evtfw import Completion, Event, ExternalWorkModule, Output, Parameter, Process
from evtfw import Path as Sequence
from evtfw.cli.tuning import tune_allocator
from evtfw.external.contract import Backend, Reply
from evtfw.io.empty_source import EmptySource
from tests.peers.tritonserver import real_tritonserver

BATCHED = "16 floats, a model that batches"
FLOATS = {BATCHED: 16, "16 floats": 16, "150 kB": 37_632, "602 kB": 150_528}
TARGETS = {
    (BATCHED, "evtfw"): 0.6,
    ("16 floats", "evtfw"): 0.6,
    ("150 kB", "evtfw"): 0.8,
    ("602 kB", "evtfw"): 0.7,
    ("602 kB", "evtfw shared"): 0.6,
}
EVENTS = {BATCHED: 4000, "16 floats": 4000, "150 kB": 2000, "602 kB": 1000}
STREAMS = 16
ROUNDS = 5


class Echo(ExternalWorkModule):
    """Sends the same numbers for each event and looks at the last of the reply."""

    values: ClassVar[NDArray[np.float32]]
    backend = Parameter[Backend]("where the model is")
    last = Output[float]("the last number of the reply")

    def acquire(self, event: Event, done: Completion) -> None:
        self.backend.submit({"x": self.values}, done)

    def produce(self, event: Event, reply: Reply) -> None:
        event[self.last] = float(reply["y"].flat[-1])


def measure(options: Options) -> Report:
    import evtfw.external.grpc  # noqa: F401 (before anything else imports gRPC: see its module `polling`)

    report = Report("client CPU per request, tritonserver 2.51 with the models 'echo' and 'echo_batch'")
    report.note(
        f"evtfw: CPU of the whole process per event of a job with one module that sends a tensor and gets it back, "
        f"{STREAMS} streams, 1 worker, router, batcher and start included, with the allocator set as evtfw run does."
    )
    report.note(
        f"{BATCHED}: its requests are one row each, and max_batch_size is 64. evtfw puts requests of several events "
        "into a call where they follow each other quickly, which a script that waits for each reply cannot. The other "
        "model does not batch: a call for each request."
    )
    report.note(
        "tritonclient: InferInput, set_data_from_numpy, infer, as_numpy in a loop, in one thread of a process of its "
        "own, as a script has it; 'tuned' with the same allocator settings; 'shared' in system shared memory."
    )
    tune_allocator()
    new = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        real_tritonserver(Path(folder), models=["echo", "echo_batch"]) as server,
        ProcessPoolExecutor(1, new) as script,
        ProcessPoolExecutor(1, new, initializer=tune_allocator) as tuned,
    ):
        for name, floats in FLOATS.items():
            model, shape = ("echo_batch", (1, floats)) if name == BATCHED else ("echo", (floats,))
            values = np.arange(floats, dtype=np.float32).reshape(shape)
            request = (server.grpc_address, model, values, options.events(EVENTS[name]))
            candidates: dict[str, Callable[[], float]] = {
                "tritonclient": partial(_in, script, bare_us, request),
                "tritonclient tuned": partial(_in, tuned, bare_us, request),
                "evtfw": partial(job_us, *request, ""),
                "tritonclient shared": partial(_in, tuned, bare_shared_us, request),
                "evtfw shared": partial(job_us, *request, "?shm=on"),
            }
            us = interleaved(candidates, options.rounds or ROUNDS)
            for candidate, samples in us.items():
                report.add(name, candidate, samples, "µs")
            for ours in ("evtfw", "evtfw shared"):
                for theirs in ("tritonclient", "tritonclient tuned"):
                    target = TARGETS.get((name, ours)) if theirs == "tritonclient" else None
                    report.add(name, f"{ours} : {theirs}", ratios(us[ours], us[theirs]), "ratio", target=target)
    return report


def _in(process: ProcessPoolExecutor, function: Callable[..., float], request: tuple[object, ...]) -> float:
    return process.submit(function, *request).result()


def job_us(address: str, model: str, values: NDArray[np.float32], events: int, options: str) -> float:
    module = type("Echo", (Echo,), {"values": values})
    process = Process("ECHO")
    process.source = EmptySource(events=events)
    process.echo = module(backend=f"triton+grpc://{address}/{model}{options}")
    process.path = Sequence(process.echo)
    return run_job(process, streams=STREAMS).cpu_s * 1e6 / events


def bare_us(address: str, model: str, values: NDArray[np.float32], requests: int) -> float:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(address) as client:

        def run() -> None:
            for _ in range(requests):
                tensor = triton.InferInput("x", values.shape, "FP32")
                tensor.set_data_from_numpy(values)
                float(client.infer(model, [tensor]).as_numpy("y").flat[-1])

        return cpu_us(run) / requests


def bare_shared_us(address: str, model: str, values: NDArray[np.float32], requests: int) -> float:
    import tritonclient.grpc as triton
    from tritonclient.utils import shared_memory

    size_bytes = values.nbytes
    regions = [
        shared_memory.create_shared_memory_region(f"bare_{side}", f"/evtfw_bare_{side}", size_bytes) for side in "xy"
    ]
    with triton.InferenceServerClient(address) as client:
        for side in "xy":
            client.register_system_shared_memory(f"bare_{side}", f"/evtfw_bare_{side}", size_bytes)

        def run() -> None:
            for _ in range(requests):
                shared_memory.set_shared_memory_region(regions[0], [values])
                tensor = triton.InferInput("x", values.shape, "FP32")
                tensor.set_shared_memory("bare_x", size_bytes)
                output = triton.InferRequestedOutput("y")
                output.set_shared_memory("bare_y", size_bytes)
                client.infer(model, [tensor], outputs=[output])
                float(shared_memory.get_contents_as_numpy(regions[1], np.float32, values.shape).flat[-1])

        try:
            return cpu_us(run) / requests
        finally:
            for side in "xy":
                client.unregister_system_shared_memory(f"bare_{side}")
            for region in regions:
                shared_memory.destroy_shared_memory_region(region)
