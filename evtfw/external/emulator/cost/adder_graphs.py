"""Runs as a process of its own: finds a graph of adders for each matrix of weights by da4ml, writes its Verilog.

``python -m evtfw.external.emulator.cost.adder_graphs JOBS.npz [FOLDER]`` prints one line of JSON for each layer as soon
as it is done, so that whoever waits can stop waiting. The file holds for each layer, by number, its weights [inputs,
outputs] and in ``NUMBER:kif`` of its inputs: whether they have a sign, and their bits before and behind the point.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EXTRA_DEPTH = 2
"""Adders in a row beyond the least possible that the optimiser may use to save some; the value of da4ml's command."""


def main(arguments: list[str]) -> None:
    """Find the graphs of all matrices of a file."""
    file, *folder = arguments
    with np.load(file) as jobs:
        for number in jobs.files:
            if not number.endswith(":kif"):
                found = graph_of(jobs[number], jobs[f"{number}:kif"], Path(folder[0]) / number if folder else None)
                sys.stdout.write(json.dumps({"layer": int(number), **found}) + "\n")
                sys.stdout.flush()


def graph_of(kernel: NDArray[np.float64], kif: NDArray[np.int64], folder: Path | None) -> dict[str, float]:
    """Return cost and depth of the adders that multiply a row by a matrix.

    Args:
        kernel: weights [inputs, outputs].
        kif: sign, bits before and bits behind the point of the inputs.
        folder: for its Verilog, if that is wanted.
    """
    from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

    sign, integer, fraction = (np.full(kernel.shape[0], bits) for bits in kif.tolist())
    row = FixedVariableArray.from_kif(
        sign, integer, fraction, HWConfig(1, -1, -1), solver_options={"hard_dc": EXTRA_DEPTH}
    )
    graph = comb_trace(row, row @ kernel)
    if folder is not None:
        from da4ml.codegen import RTLModel

        RTLModel(graph, "layer", folder, flavor="verilog").write()
    return {"luts": float(graph.cost), "depth": float(max(graph.latency))}


if __name__ == "__main__":
    main(sys.argv[1:])
