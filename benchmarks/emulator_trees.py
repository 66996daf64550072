"""Boosted trees in fixed-point arithmetic, beside conifer's C++ with the same trees."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import xgboost
from numpy.typing import NDArray

from benchmarks.measure import Options, Report, interleaved, ratios
from evtfw.external.emulator import trees
from evtfw.external.emulator.trees import Ensemble
from evtfw.external.onnx_model import OnnxModel, SessionSettings
from tests.external.emulator.trees.conifer_reference import Conifer

FEATURES, TREES, DEPTH = 16, 100, 4
FORMATS = {"16 bits": ("ap_fixed<16,6>", "ap_fixed<16,6>"), "coarse": ("ap_fixed<10,5>", "ap_fixed<8,4>")}
SATURATING = ("ap_fixed<10,5>", "ap_fixed<8,2,AP_RND,AP_SAT>")
ROWS, CALLS, ROUNDS = 8192, 1000, 7
BLOCK = 1024
"""Rows of a call in bulk."""
BULK_TARGET = 20.0


def measure(options: Options) -> Report:
    report = Report(f"{TREES} trees of depth {DEPTH} for each score, {FEATURES} features, against conifer's C++")
    report.note(
        "conifer: the unchanged header of its backend cpp, g++ -O3 as conifer compiles it, called row by row in a loop "
        "in C (its own decision_function loops in Python). It multiplies each node's features by a one-hot vector, so "
        "that its time grows with their number."
    )
    report.note(f"Emulator: onnxruntime, one thread, calls of {BLOCK} rows in bulk. Both give the same numbers.")
    report.note("Saturating: sums that can saturate are brought back after each tree; no target.")
    models = {"two classes": binary(), "five classes": multiclass(), "regression": regression()}
    cases = [(f"{name}, {kind}", model, pair) for name, model in models.items() for kind, pair in FORMATS.items()]
    with tempfile.TemporaryDirectory() as folder:
        for name, model, pair in [*cases, ("two classes, saturating", models["two classes"], SATURATING)]:
            goal = None if pair is SATURATING else BULK_TARGET
            _compare(report, name, Candidate(model, *pair, Path(folder)), options, goal)
    return report


class Candidate:
    """One ensemble, both ways."""

    def __init__(self, ensemble: Ensemble, threshold: str, score: str, folder: Path) -> None:
        model, _, _ = trees.convert(ensemble, format=f"threshold={threshold}; score={score}", name="trees")
        file = folder / "emulated.onnx"
        file.write_bytes(model.SerializeToString())
        self._emulator = OnnxModel(file, SessionSettings())
        self.cpp = Conifer(ensemble, folder, threshold=threshold, score=score).scores

    def run(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        return self._emulator.run({"features": rows})["scores"]

    def run_blocks(self, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
        return [self.run(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]


def _compare(report: Report, name: str, candidate: Candidate, options: Options, goal: float | None) -> None:
    rounds, calls, count = options.rounds or ROUNDS, options.events(CALLS), options.events(ROWS)
    rows = sample(count, seed=1)[0]
    exact = rows.astype(np.float64)  # what conifer's function takes
    if not np.array_equal(candidate.run(rows), candidate.cpp(rows)):
        raise RuntimeError(f"{name}: the emulator and conifer differ")
    bulk = interleaved(
        {
            "conifer": partial(_seconds, partial(candidate.cpp, exact)),
            "emulator": partial(_seconds, partial(candidate.run_blocks, rows)),
        },
        rounds,
    )
    for who, seconds in bulk.items():
        report.add(name, f"{who}, bulk", [s * 1e6 / count for s in seconds], "µs/row")
    report.add(name, "speed-up, bulk", ratios(bulk["conifer"], bulk["emulator"]), "", target=goal, at_least=True)
    few = [rows[i : i + 1] for i in range(min(calls, count))]
    single = [_seconds(lambda: list(map(candidate.run, few))) for _ in range(rounds)]
    report.add(name, "emulator, one row a call", [s * 1e6 / len(few) for s in single], "µs")


def _seconds(function: Callable[[], Any]) -> float:
    start_s = time.perf_counter()
    function()
    return time.perf_counter() - start_s


def sample(rows: int, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Features and a smooth target of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    target = features[:, 0] + np.sin(2 * features[:, 1]) * features[:, 2] + features[:, 3:].sum(axis=1) / 4
    return features, target + rng.normal(scale=0.1, size=rows)


def _classes(target: NDArray[np.float64], count: int) -> NDArray[Any]:
    return np.searchsorted(np.quantile(target, np.arange(1, count) / count), target)


def _boosted(objective: str, label: NDArray[Any], features: NDArray[np.float32], **more: Any) -> Ensemble:
    settings = {"objective": objective, "max_depth": DEPTH, "nthread": 1, **more}
    return trees.read(xgboost.train(settings, xgboost.DMatrix(features, label), TREES))


def binary() -> Ensemble:
    features, target = sample(4000)
    return _boosted("binary:logistic", _classes(target, 2), features)


def multiclass() -> Ensemble:
    features, target = sample(4000)
    return _boosted("multi:softprob", _classes(target, 5), features, num_class=5)


def regression() -> Ensemble:
    features, target = sample(4000)
    settings = {"objective": "regression", "max_depth": DEPTH, "num_leaves": 16, "num_threads": 1, "verbose": -1}
    return trees.read(lightgbm.train(settings, lightgbm.Dataset(features, target), TREES))
