"""Servers in processes of their own on loopback, a module that asks them, and NVIDIA's load generator."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from evtfw import Completion, Event, ExternalWorkModule, Input, Output, Parameter
from evtfw.external.contract import Backend, Reply
from tests.peers.perf_analyzer import run_perf_analyzer

STARTING_S = 30.0


class EvtfwServe:
    """``evtfw serve`` on a free port.

    Args:
        options: of the command, e.g. ``["--model", "toptag=cpu:toptag"]``.
        port: 0 for a free one.

    Attributes:
        address: host and port.
        process: to be killed, stopped, or asked to end.
    """

    def __init__(self, options: Sequence[str], *, port: int = 0) -> None:
        self.options = list(options)
        self._port = port

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        ready = Path(self._folder.name, "ready")
        command = [sys.executable, "-m", "evtfw", "serve", *self.options, "--grpc", f"127.0.0.1:{self._port}"]
        log = Path(self._folder.name, "log").open("w+")
        # A session of its own, as tritonserver has: Linux divides the cores among sessions first.
        self.process = subprocess.Popen(
            [*command, "--ready-file", ready], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        end_s = time.monotonic() + STARTING_S
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > end_s:
                self.process.kill()
                log.seek(0)
                raise RuntimeError(f"{' '.join(map(str, command))} did not start: {log.read()}")
            time.sleep(0.02)
        found = re.search(r"127\.0\.0\.1:\d+", ready.read_text())
        if found is None:
            raise RuntimeError(f"no address in {ready.read_text()!r}")
        self.address = found[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()


class Ask(ExternalWorkModule):
    """Sends so many numbers with each event and puts those that come back."""

    backend = Parameter[Backend]("who answers")
    values = Parameter[int]("float32 numbers in a request")
    is_batched = Parameter[bool]("whether the model's first axis is a batch; the request is one row then", default=True)
    after = Input[object]("what to wait for", optional=True)
    answer = Output[NDArray[np.float32]]("the numbers of the reply, float32 [values] or [1, values]")

    def begin_job(self) -> None:
        self._request = {"x": np.ones((1, self.values) if self.is_batched else self.values, np.float32)}

    def acquire(self, event: Event, done: Completion) -> None:
        self.backend.submit(self._request, done)

    def produce(self, event: Event, reply: Reply) -> None:
        event[self.answer] = reply["y"]


class LoadPoint:
    """What perf_analyzer found at one concurrency: rate per second and latencies in milliseconds."""

    def __init__(self, row: dict[str, str]) -> None:
        self.rate = float(row["Inferences/Second"])
        self.p50_ms, self.p99_ms = (float(row[f"p{n} latency"]) / 1e3 for n in (50, 99))


def load(address: str, model: str, concurrency: int, shapes: Sequence[str], *, seconds: float = 3.0) -> LoadPoint:
    """Drive a server with NVIDIA's perf_analyzer over gRPC; ``shapes`` such as ``x:16``."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "found.csv")
        words = ["-b", "1", "--async", "--concurrency-range", concurrency, "--input-data", "zero", "-f", table]
        words += ["--max-trials", "10", "-s", "25", "--percentile", "99"]
        words += ["--measurement-interval", round(seconds * 1e3)]
        for shape in shapes:
            words += ["--shape", shape]
        done = run_perf_analyzer(model, address, *words)
        if not table.exists():
            raise RuntimeError(f"{' '.join(map(str, done.args))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        with table.open() as file:
            return LoadPoint(next(csv.DictReader(file)))
