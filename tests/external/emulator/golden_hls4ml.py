"""hls4ml's compiled C++ emulation of a network: what the device answers, bit for bit.

The project is written and compiled in a folder of the test's; the working directory stays as it is. Rows are computed
by a loop in C that is added to hls4ml's bridge, as hls4ml's own ``predict`` loops in Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import math
from pathlib import Path

import numpy as np

from evtfw.external.emulator.network import Activation, Dense, Softmax

PARAMETERS = {"leaky_relu": "LeakyReLU", "elu": "ELU"}


class GoldenModel:
    """A network of dense layers, activations and softmaxes as hls4ml compiles it.

    Args:
        network: its tensors are vectors; layers may branch, and there may be several outputs.
        formats: `LayerFormats` by name of the layer and of the input.
        folder: for the project.
        optimisation: for g++; hls4ml's own is ``-O3``.
        strategies: hls4ml's strategy by name of the layer, if not ``Latency``.
    """

    def __init__(self, network, formats, folder, *, optimisation="-O1", strategies=None):
        from hls4ml.model.graph import ModelGraph
        from hls4ml.utils.config import create_config

        self.network = network
        self.sizes = {tensor.name: tensor.shape[0] for tensor in network.inputs}
        self.sizes |= {layer.output: layer.shape[0] for layer in network.layers}
        makers = {layer.output: layer.name for layer in network.layers}
        layers = [
            {"class_name": "InputLayer", "name": tensor.name, "input_shape": list(tensor.shape)}
            for tensor in network.inputs
        ]
        for layer in network.layers:
            inputs = [makers.get(name, name) for name in layer.inputs]
            layers.append({"name": layer.name, "inputs": inputs} | described(layer, formats[layer.name]))
        with contextlib.redirect_stdout(io.StringIO()):
            config = create_config(
                output_dir=str(Path(folder).resolve()), project_name="golden", backend="Vitis", io_type="io_parallel"
            )
            config["HLSConfig"] = {
                "Model": {"Precision": {"default": "ap_fixed<16,6>"}, "ReuseFactor": 1, "Strategy": "Latency"},
                "LayerName": {
                    name: configured(given, (strategies or {}).get(name, "Latency")) for name, given in formats.items()
                },
            }
            names = [makers[name] for name in network.outputs]
            self.model = ModelGraph.from_layer_list(config, layers, [t.name for t in network.inputs], names)
            self.model.write()
            self._add_loop(Path(folder))
            script = Path(folder) / "build_lib.sh"
            script.write_text(script.read_text().replace("-O3", optimisation))
            self.model._compile()
        self.library = self.model._top_function_lib

    def __call__(self, rows):
        """Outputs by name, float64, for rows of the only input."""
        given = np.ascontiguousarray(rows, dtype=np.float64)
        answers = {name: np.zeros((len(given), self.sizes[name])) for name in self.network.outputs}
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (given, *answers.values())]
        self.library.rows_double(ctypes.c_long(len(given)), *pointers)
        return answers

    def _add_loop(self, folder):
        """Add functions that compute many rows, in double and in float."""
        sizes = [self.sizes[self.network.inputs[0].name], *(self.sizes[name] for name in self.network.outputs)]
        places = ", ".join(f"p{i} + i * {n}" for i, n in enumerate(sizes))
        loops = [
            f'extern "C" void rows_{kind}(long n, {", ".join(f"{kind} *p{i}" for i in range(len(sizes)))}) {{\n'
            f"    for (long i = 0; i < n; i++) golden_{kind}({places});\n}}\n"
            for kind in ("float", "double")
        ]
        with (folder / "golden_bridge.cpp").open("a") as file:
            file.writelines(loops)


def described(layer, formats):
    """hls4ml's dictionary of a layer."""
    size = math.prod(layer.shape)
    if isinstance(layer, Dense):
        bias = np.zeros(size) if layer.bias is None else layer.bias
        sizes = {"n_in": layer.weight.shape[0], "n_out": size}
        return {"class_name": "Dense", "weight_data": layer.weight, "bias_data": bias} | sizes
    if isinstance(layer, Softmax):
        return {"class_name": "Softmax", "activation": "softmax", "n_in": size, "axis": -1}
    assert isinstance(layer, Activation)
    if layer.function in PARAMETERS:
        kind = PARAMETERS[layer.function]
        return {"class_name": kind, "activation": kind.lower(), "activ_param": layer.alpha, "n_in": size}
    if layer.function == "clipped_relu":
        return {"class_name": "Activation", "activation": f"relu{layer.alpha:.0f}", "n_in": size}
    return {"class_name": "Activation", "activation": layer.function, "n_in": size}


def configured(formats, strategy):
    """hls4ml's configuration of a layer; it takes the types of tables from keys beside ``Precision`` only."""
    precision = {
        "result": formats.result,
        "weight": formats.weight,
        "bias": formats.bias,
        "accum": formats.accumulator,
        "param": formats.parameter,
    }
    types = {"table_t": formats.table}
    size = formats.table_size
    if formats.softmax is not None:
        softmax, size = formats.softmax, formats.softmax.inverse_size
        precision["accum"] = softmax.accumulator
        types |= {
            "exp_table_t": softmax.exponential,
            "inv_table_t": softmax.inverse,
            "inv_inp_t": softmax.inverse_input,
        }
    entry = {
        "Strategy": strategy,
        "ReuseFactor": formats.summation_stride,
        "TableSize": size,
        "Precision": {name: text(given) for name, given in precision.items() if given is not None},
    }
    if formats.softmax is not None:
        entry["Implementation"] = formats.softmax.strategy
    return entry | {name: text(given) for name, given in types.items() if given is not None}


def text(given):
    sign = "" if given.is_signed else "u"
    return f"{sign}fixed<{given.width},{given.integer},{given.rounding},{given.overflow},0>"
