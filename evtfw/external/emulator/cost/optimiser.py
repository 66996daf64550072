"""The exact cost of layers whose multiplications became a graph of adders: da4ml's optimiser, where it applies."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.cost.constants import as_kernel
from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.figures import Figure
from evtfw.external.emulator.cost.layers import LayerCost
from evtfw.external.emulator.cost.model_file import EmulatedModel
from evtfw.external.emulator.cost.multiplying import registers
from evtfw.external.emulator.formats.fixed_point import FixedPoint

MOST_WEIGHTS = 16_384
"""Of a layer: larger matrices take the optimiser minutes, and no FPGA that much unrolled logic."""
TIME_LIMIT_S = 60.0
_KINDS = ("dense", "conv1d", "conv2d")


@dataclasses.dataclass(frozen=True, slots=True)
class AdderGraph:
    """What the optimiser found for a layer.

    Args:
        luts: that its adders take.
        depth: adders in a row.
        number: of the layer in the card.
    """

    luts: float
    depth: float
    number: int


def is_available() -> bool:
    """Whether da4ml is installed."""
    return importlib.util.find_spec("da4ml") is not None


def optimise(
    model: EmulatedModel, *, verilog: Path | None = None, time_limit_s: float = TIME_LIMIT_S
) -> dict[str, AdderGraph]:
    """Return the adder graphs of those layers for which they are found in time, by the layer's name.

    It runs in a process of its own, since the optimiser cannot be interrupted.

    Args:
        model: whose layers.
        verilog: folder; gets a folder of Verilog for each layer, called by its number in the card.
        time_limit_s: for all layers together.

    Raises:
        ConfigurationError: if da4ml is not installed, or fails.
    """
    if not is_available():
        raise ConfigurationError("this needs da4ml, which is not installed: pip install da4ml")
    jobs = _jobs(model)
    if not jobs:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "jobs.npz"
        np.savez(file, **jobs)  # type: ignore[arg-type]
        lines = _run([str(file), *([str(verilog)] if verilog else [])], time_limit_s)
    found = {one["layer"]: one for one in (json.loads(line) for line in lines if line.endswith("}"))}
    layers = enumerate(model.card.layers)
    return {layer.name: AdderGraph(found[n]["luts"], found[n]["depth"], n) for n, layer in layers if n in found}


def _jobs(model: EmulatedModel) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
    jobs: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {}
    layers = [(number, layer) for number, layer in enumerate(model.card.layers) if _applies(layer, model)]
    for number, layer in sorted(layers, key=lambda pair: model.weights[pair[1].weights].size):
        jobs[str(number)] = as_kernel(model.weights[layer.weights])
        value = FixedPoint.parse(layer.input_format)
        jobs[f"{number}:kif"] = np.array(
            [value.is_signed, value.integer - value.is_signed, value.width - value.integer], np.int64
        )
    return jobs


def left_out(model: EmulatedModel, graphs: Mapping[str, AdderGraph]) -> list[str]:
    """Return the layers that have weights, but no graph: too large, of another arithmetic, or not found in time."""
    return [layer.name for layer in model.card.layers if layer.weights and layer.name not in graphs]


def _applies(layer: LayerCard, model: EmulatedModel) -> bool:
    weights = model.weights.get(layer.weights)
    is_fixed = "fixed<" in layer.input_format
    return layer.kind in _KINDS and weights is not None and is_fixed and 0 < weights.size <= MOST_WEIGHTS


def _run(arguments: Sequence[str], time_limit_s: float) -> list[str]:
    command = [sys.executable, "-m", "evtfw.external.emulator.cost.adder_graphs", *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=time_limit_s)  # noqa: S603
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode().splitlines()
    if done.returncode:
        raise ConfigurationError(f"da4ml failed: {done.stderr.decode(errors='replace').strip().splitlines()[-1:]}")
    return done.stdout.decode().splitlines()


def with_graphs(cost: LayerCost, graph: AdderGraph | None, design: Design) -> LayerCost:
    """Return a layer's cost with the figures that the optimiser makes exact."""
    if graph is None:
        return cost
    changed: Mapping[str, Figure] = {
        "latency_cycles": Figure(max(1, design.cycles_of_adders(math.ceil(graph.depth))), "optimised", "da4ml"),
        "dsp": Figure(0.0, "optimised", "da4ml"),
        "lut": Figure(graph.luts, "optimised", "da4ml"),
        "ff": registers(graph.luts, 0),
    }
    return dataclasses.replace(cost, figures={**cost.figures, **changed})
