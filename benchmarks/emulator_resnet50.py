"""ResNet-50 in the arithmetic of FPGAs against float32, both on onnxruntime, batch 1, one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.measure import Options, Report, cpu_us, interleaved, ratios
from benchmarks.resnet50 import ResNet, images, resnet
from evtfw.external.emulator.quantised import rewrite
from evtfw.external.onnx_model import OnnxModel, SessionSettings

TARGETS = {"fixed8": 1 / 3, "msfp12": 1.25, "msfp16": 1.25, "brainwave-ms-fp9": 1.25}
"""Time of a format over that of float32, at most."""
CALIBRATION_ROWS = 16
IMAGES = 4
ROUNDS = 9


def measure(options: Options) -> Report:
    report = Report("ResNet-50 with the SONIC paper's head, 224 x 224, batch 1, one thread")
    report.note(
        "25.6 million seeded weights; CPU time of the process per image, so that other programs count less. float32: "
        "the same network with batch normalisations folded by onnxruntime. All through evtfw.external.onnx_model."
    )
    report.note("difference: of the softmax from float32's, mean of the absolute over images; the weights are random.")
    side = 224 if options.scale >= 1 else 64  # small for tests
    network = resnet(ResNet(side=side))
    calibration, rows = images(CALIBRATION_ROWS, side=side, seed=1), images(IMAGES, side=side, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        models = {"float32": _loaded(network, Path(folder) / "float32.onnx")}
        for number_format in TARGETS:
            rewritten, _, _ = rewrite(network, number_format, {"image": calibration})
            models[number_format] = _loaded(rewritten, Path(folder) / f"{number_format}.onnx")
        candidates: dict[str, Callable[[], float]] = {
            name: partial(_ms_per_image, model, rows) for name, model in models.items()
        }
        for warm_up in candidates.values():
            warm_up()
        ms = interleaved(candidates, options.rounds or ROUNDS)
        scores = {name: model.run({"image": rows})["probability"] for name, model in models.items()}
    for name, samples in ms.items():
        report.add(name, "CPU time per image", samples, "ms")
    for name, target in TARGETS.items():
        report.add(name, "over float32", ratios(ms[name], ms["float32"]), "ratio", target=target)
        report.add(name, "difference", [float(np.abs(scores[name] - scores["float32"]).mean())], "of 1")
    return report


def _loaded(model: onnx.ModelProto, file: Path) -> OnnxModel:
    onnx.save(model, file)
    return OnnxModel(file, SessionSettings())


def _ms_per_image(model: OnnxModel, rows: NDArray[np.float32]) -> float:
    def run() -> None:
        for row in rows:
            model.run({"image": row[None]})

    return cpu_us(run) / 1000 / len(rows)
