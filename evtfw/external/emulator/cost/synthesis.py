"""LUTs as a real synthesis tool counts them: yosys on da4ml's Verilog."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.cost.model_file import EmulatedModel
from evtfw.external.emulator.cost.optimiser import TIME_LIMIT_S, AdderGraph, optimise

MOST_LUTS = 60_000
"""Of a layer, by da4ml's estimate; more takes yosys too long."""


@dataclasses.dataclass(frozen=True, slots=True)
class Synthesised:
    """A layer after synthesis.

    Args:
        graph: what da4ml had estimated.
        luts: that yosys made of it; None if it was too large or took too long.
    """

    graph: AdderGraph
    luts: int | None


def synthesise(model: EmulatedModel, time_limit_s: float = 4 * TIME_LIMIT_S) -> dict[str, Synthesised]:
    """Synthesise the adder graphs of a model's layers for UltraScale+.

    Args:
        model: whose layers.
        time_limit_s: for each layer.

    Raises:
        ConfigurationError: if yosys or da4ml are not installed, or fail.
    """
    if shutil.which("yosys") is None:
        raise ConfigurationError("--synthesise needs yosys, which is not installed; Debian's package is called yosys")
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layer, graph in optimise(model, verilog=folder).items():
            luts = _luts(folder / str(graph.number), time_limit_s) if graph.luts <= MOST_LUTS else None
            found[layer] = Synthesised(graph, luts)
    return found


def _luts(folder: Path, time_limit_s: float) -> int | None:
    script = (
        "read_verilog -sv -defer src/static/*.v; read_verilog -sv src/layer.v; "
        "synth_xilinx -family xcup -top layer -flatten -noiopad -noclkbuf; tee -q -o statistics.json stat -json"
    )
    command = ["yosys", "-q", "-p", script]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=time_limit_s)  # noqa: S603
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ConfigurationError(f"yosys failed: {' '.join(reason) or error}") from error
    cells: dict[str, int] = json.loads((folder / "statistics.json").read_text())["design"]["num_cells_by_type"]
    return sum(number for kind, number in cells.items() if kind.startswith("LUT") and kind[3:].isdigit())
