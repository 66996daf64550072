"""Networks in ap_fixed arithmetic, beside hls4ml's compiled C++ emulation of the same networks."""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_long, c_void_p
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Options, Report, interleaved, ratios
from evtfw.external.emulator.fixed.writer import write
from evtfw.external.onnx_model import OnnxModel, SessionSettings
from tests.external.emulator.fixed.vectors import VectorNetwork, mlp
from tests.external.emulator.golden_hls4ml import GoldenModel

F16, WIDE, SIX = "fixed<16,6>", "fixed<40,20>", "fixed<6,1,RND_CONV,SAT>"
ROWS, CALLS, ROUNDS = 8192, 1000, 7
BLOCK = 256
"""Rows of a call in bulk: what lies between two layers stays in the core's cache."""
BULK_TARGET, CALL_TARGET, THREADS_TARGET = 20.0, 3.0, 1.9
THREADS, CALL_S, SECONDS = 2, 1e-3, 0.8
CONTROL = bytes(1 << 21)
"""Its checksum by zlib, which needs no interpreter lock: what two threads of this machine can do at best."""

NETWORKS: dict[str, tuple[int, tuple[int, ...], dict[str, Any]]] = {
    "jets 16 bits": (16, (64, 32, 32, 5), {"result": F16, "weight": F16, "bias": F16, "accumulator": WIDE}),
    "jets 6 bits": (
        16,
        (64, 32, 32, 5),
        {"result": F16, "weight": SIX, "bias": SIX, "accumulator": WIDE, "relu": "ufixed<6,2,RND_CONV,SAT>"},
    ),
    "FACILE": (18, (31, 11, 3, 1), {"result": F16, "weight": F16, "bias": F16, "accumulator": WIDE}),
}
COARSE = "jets 16 bits, coarse"


class Candidate:
    """One network, both ways."""

    def __init__(self, inputs: int, sizes: tuple[int, ...], formats: dict[str, Any], folder: Path) -> None:
        made = VectorNetwork(inputs, F16)
        self._output = mlp(made, "layer", sizes, **formats)
        network = made.network(self._output, dtype="float32")
        file = folder / "emulated.onnx"
        file.write_bytes(write(network, made.formats).model.SerializeToString())
        self.emulator = OnnxModel(file, SessionSettings(calls=THREADS))
        self.golden = GoldenModel(network, made.formats, folder / "hls4ml", optimisation="-O3")
        self.outputs = sizes[-1]

    def run(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        return self.emulator.run({"x": rows})[self._output]

    def run_blocks(self, rows: NDArray[np.float32]) -> float:
        """Seconds for all rows, in blocks."""
        return _seconds(lambda: [self.run(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)])

    def run_cpp(self, rows: NDArray[np.float32]) -> float:
        """Seconds for all rows, in a loop in C."""
        return _seconds(lambda: self.cpp(rows))

    def cpp(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        made = np.zeros((len(rows), self.outputs), dtype=np.float32)
        self.golden.library.rows_float(c_long(len(rows)), c_void_p(rows.ctypes.data), c_void_p(made.ctypes.data))
        return made

    def calls_us(self, function: Callable[[NDArray[np.float32]], Any], row: NDArray[np.float32], calls: int) -> float:
        return _seconds(lambda: [function(row) for _ in range(calls)]) * 1e6 / calls


def checksum() -> None:
    zlib.crc32(CONTROL)


def speed_up(work: Callable[[], object]) -> float:
    """Return how many times more often two Python threads do something in the same time than one."""
    calls = max(1, round(SECONDS / _seconds(work)))

    def run(_: int) -> None:
        for _ in range(calls):
            work()

    def seconds(threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            return _seconds(lambda: list(pool.map(run, range(threads))))

    return THREADS * seconds(1) / seconds(THREADS)


def measure(options: Options) -> Report:
    report = Report("ap_fixed networks of dense layers against hls4ml's C++ emulation")
    report.note(
        "hls4ml in bulk: its library, g++ -O3 as hls4ml compiles it, called row by row in a loop in C that is compiled "
        "into it (its own predict loops in Python). hls4ml at batch 1: its predict."
    )
    report.note(f"Emulator: onnxruntime, one thread, calls of {BLOCK} rows in bulk. Both give the same numbers.")
    report.note(
        f"{THREADS} threads against 1: calls of {CALL_S * 1e3:g} ms; beside it zlib's checksums of 2 MB, which is "
        "what the machine's two cores give."
    )
    report.note(
        "Coarse: each product is cut to the accumulator ap_fixed<16,6> before it is added (hls4ml's granularity "
        "'model'), so that there is no matrix product to compute; no target."
    )
    coarse = (16, (64, 32, 32, 5), {"result": F16, "weight": F16, "bias": F16, "accumulator": F16})
    for name, (inputs, sizes, formats) in {**NETWORKS, COARSE: coarse}.items():
        with tempfile.TemporaryDirectory() as folder:
            _compare(report, name, Candidate(inputs, sizes, formats, Path(folder)), inputs, options)
    return report


def _compare(report: Report, name: str, candidate: Candidate, inputs: int, options: Options) -> None:
    rounds, calls, count = options.rounds or ROUNDS, options.events(CALLS), options.events(ROWS)
    rows = np.random.default_rng(3).normal(size=(count, inputs)).astype(np.float32)
    if not np.array_equal(candidate.run(rows), candidate.cpp(rows)):
        raise RuntimeError(f"{name}: the emulator and hls4ml differ")
    bulk = interleaved(
        {
            "hls4ml": partial(candidate.run_cpp, rows),
            "emulator": partial(candidate.run_blocks, rows),
        },
        rounds,
    )
    for who in ("hls4ml", "emulator"):
        report.add(name, f"{who}, bulk", [seconds * 1e6 / count for seconds in bulk[who]], "µs/row")
    goal = None if name == COARSE else BULK_TARGET
    report.add(name, "speed-up, bulk", ratios(bulk["hls4ml"], bulk["emulator"]), "", target=goal, at_least=True)
    block = rows[: min(count, round(CALL_S / (median(bulk["emulator"]) / count)))]
    factors = interleaved(
        {"emulator": partial(speed_up, partial(candidate.run, block)), "zlib": partial(speed_up, checksum)}, rounds
    )
    for who, goal in (("emulator", THREADS_TARGET), ("zlib", None)):
        report.add(name, f"{THREADS} threads : 1, {who}", factors[who], "", target=goal, at_least=True)
    single = interleaved(
        {
            "hls4ml": partial(candidate.calls_us, candidate.golden.model.predict, rows[:1], calls),
            "emulator": partial(candidate.calls_us, candidate.run, rows[:1], calls),
        },
        rounds,
    )
    for who, samples in single.items():
        report.add(name, f"{who}, 1 row", samples, "µs/call")
    goal = None if name == COARSE else CALL_TARGET
    report.add(name, "speed-up, 1 row", ratios(single["hls4ml"], single["emulator"]), "", target=goal, at_least=True)


def _seconds(function: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    function()
    return time.perf_counter() - start_s
