"""hls4ml's compiled C++ emulation of networks with images: convolutions, pools, merging and moving layers.

hls4ml's ONNX front end knows neither depthwise layers nor pools over one axis rightly, so the graph is made from a list
of layers, as its Keras front end makes one. hls4ml lays tensors out channels last; what is given and returned here is
channels first.
"""

import contextlib
import ctypes
import io
import math

import numpy as np

from evtfw.external.emulator.network import (
    Activation,
    Conv,
    Dense,
    Merge,
    Pool,
    Reshape,
    Scale,
    Transpose,
    UpSample,
)
from tests.external.emulator.golden_hls4ml import GoldenModel, configured, text


class GoldenImageModel(GoldenModel):
    """A network of one input as hls4ml compiles it; see `GoldenModel`.

    Args:
        network: its input has channels; outputs may be of any shape.
        formats: `LayerFormats` by name of the layer and of the input.
        folder: for the project.
    """

    def __init__(self, network, formats, folder):
        from hls4ml.model.graph import ModelGraph
        from hls4ml.utils.config import create_config

        self.network = network
        self.shapes = {tensor.name: tensor.shape for tensor in network.inputs}
        self.shapes |= {layer.output: layer.shape for layer in network.layers}
        self.sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        layers, outputs = Layers(network).write()
        with contextlib.redirect_stdout(io.StringIO()):
            config = create_config(
                output_dir=str(folder.resolve()), project_name="golden", backend="Vitis", io_type="io_parallel"
            )
            precisions = {name: {"Precision": configured(given, "")["Precision"]} for name, given in formats.items()}
            for layer in network.layers:
                if isinstance(layer, Scale):  # hls4ml calls its weight a scale
                    precisions[layer.name]["Precision"]["scale"] = text(formats[layer.name].weight)
            config["HLSConfig"] = {
                "Model": {"Precision": {"default": "ap_fixed<16,6>"}, "ReuseFactor": 1, "Strategy": "Latency"},
                "LayerName": precisions,
            }
            self.model = ModelGraph.from_layer_list(config, layers, [t.name for t in network.inputs], outputs)
            self.model.write()
            self._add_loop(folder)
            script = folder / "build_lib.sh"
            script.write_text(script.read_text().replace("-O3", "-O1"))
            self.model._compile()
        self.library = self.model._top_function_lib

    def __call__(self, rows):
        """Outputs by name, float64, for rows of the only input, channels first."""
        given = np.ascontiguousarray(channels_last(rows), dtype=np.float64)
        answers = {name: np.zeros((len(given), *last(self.shapes[name]))) for name in self.network.outputs}
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (given, *answers.values())]
        self.library.rows_double(ctypes.c_long(len(given)), *pointers)
        return {name: channels_first(answer) for name, answer in answers.items()}


def channels_last(rows):
    return np.moveaxis(rows, 1, -1)


def channels_first(rows):
    return np.moveaxis(rows, -1, 1)


def last(shape):
    return (*shape[1:], shape[0])


class Layers:
    """hls4ml's dictionaries for the layers of a network."""

    def __init__(self, network):
        self.network = network
        self.shapes = {tensor.name: tensor.shape for tensor in network.inputs}
        self.makers = {tensor.name: tensor.name for tensor in network.inputs}
        self.found = [
            {"class_name": "InputLayer", "name": tensor.name, "input_shape": list(last(tensor.shape))}
            for tensor in network.inputs
        ]

    def write(self):
        """All layers and the names of those whose values are asked for."""
        for layer in self.network.layers:
            self._add(layer)
            self.shapes[layer.output] = layer.shape
        return self.found, [self.makers[name] for name in self.network.outputs]

    def _add(self, layer):
        shapes = [self.shapes[name] for name in layer.inputs]
        inputs = [self.makers[name] for name in layer.inputs]
        if isinstance(layer, Reshape):
            self._add_reshape(layer, shapes[0], inputs)
        else:
            self._append(layer, WRITERS[type(layer)](layer, shapes[0]), layer.name, inputs)

    def _append(self, layer, made, name, inputs):
        self.found.append({"name": name, "inputs": inputs, "data_format": "channels_last"} | made)
        self.makers[layer.output] = name

    def _add_reshape(self, layer, shape, inputs):
        """The source's order of values is that of channels first."""
        rank = len(shape)
        if rank > 1:
            order = {"class_name": "Transpose", "perm": [rank - 1, *range(rank - 1)]}
            self._append(layer, order, f"{layer.name}_first", inputs)
            inputs = [f"{layer.name}_first"]
        self._append(layer, {"class_name": "Reshape", "target_shape": list(layer.shape)}, layer.name, inputs)
        if len(layer.shape) > 1:
            order = {"class_name": "Transpose", "perm": [*range(1, len(layer.shape)), 0]}
            self._append(layer, order, f"{layer.name}_last", [layer.name])


def sides(names, values, prefix):
    return {f"{prefix}_{name}": int(value) for name, value in zip(names, values, strict=True)}


AXES = {1: ["width"], 2: ["height", "width"]}
ENDS = {1: ["left", "right"], 2: ["top", "left", "bottom", "right"]}


def convolution(layer, shape):
    n = len(shape) - 1
    is_depthwise = layer.groups > 1
    weight = np.moveaxis(layer.weight, (0, 1), (-2, -1) if is_depthwise else (-1, -2))
    names = AXES[n]
    return {
        "class_name": f"{'Depthwise' if is_depthwise else ''}Conv{n}D",
        "n_chan": shape[0],
        "n_filt": layer.shape[0],
        "depth_multiplier": 1,
        "depthwise_data" if is_depthwise else "weight_data": weight,
        "bias_data": np.zeros(layer.shape[0]) if layer.bias is None else layer.bias,
        **sides(names, shape[1:], "in"),
        **sides(names, layer.shape[1:], "out"),
        **sides(names, layer.weight.shape[2:], "filt"),
        **sides(names, layer.strides, "stride"),
        **sides(ENDS[n], layer.pads, "pad"),
    } | ({"in_height": 1} if n == 1 else {})


def pool(layer, shape):
    n = len(shape) - 1
    word = layer.function.capitalize()
    if len(layer.shape) == 1:
        sizes = {"n_in": shape[1]} if n == 1 else sides(AXES[n], shape[1:], "in")
        return {"class_name": f"Global{word}Pooling{n}D", "n_filt": shape[0], **sizes}
    if n == 1:
        sizes = {"n_in": shape[1], "n_out": layer.shape[1]}
    else:
        sizes = sides(AXES[n], shape[1:], "in") | sides(AXES[n], layer.shape[1:], "out")
    return {
        "class_name": f"{word}Pooling{n}D",
        "n_filt": shape[0],
        "count_pad": layer.counts_padding,
        **sizes,
        **sides(AXES[n], layer.window, "pool"),
        **sides(AXES[n], layer.strides, "stride"),
        **sides(ENDS[n], layer.pads, "pad"),
    }


def merge(layer, shape):
    if layer.operation == "concatenate":
        axis = (layer.axis - 1) % len(shape)  # its place channels last
        return {"class_name": "Concatenate", "op": f"concatenate{len(shape)}d", "axis": axis + 1}
    return {"class_name": "Merge", "op": layer.operation}


def transpose(layer, shape):
    rank = len(shape)
    places = [*range(1, rank), 0]  # axis of the row, for each axis channels last
    return {"class_name": "Transpose", "perm": [places.index(layer.order[places[k]]) for k in range(rank)]}


def up_sample(layer, shape):
    (height, width), (up, over) = (1, *shape[1:])[-2:], (1, *layer.factors)[-2:]
    return {
        "class_name": "Resize", "algorithm": "nearest", "n_chan": shape[0], "in_height": height, "in_width": width,
        "out_height": height * up, "out_width": width * over,
    }  # fmt: skip


def dense(layer, shape):
    bias = np.zeros(layer.shape[-1]) if layer.bias is None else layer.bias
    sizes = {"n_in": layer.weight.shape[0], "n_out": layer.weight.shape[1]}
    return {"class_name": "Dense", "weight_data": layer.weight, "bias_data": bias, **sizes}


def scale(layer, shape):
    return {
        "class_name": "BatchNormalization", "n_in": math.prod(shape), "n_filt": shape[0] if len(shape) > 1 else -1,
        "scale_data": layer.scale, "bias_data": layer.shift,
    }  # fmt: skip


def activation(layer, shape):
    return {"class_name": "Activation", "activation": layer.function, "n_in": math.prod(shape)}


WRITERS = {
    Activation: activation,
    Conv: convolution,
    Dense: dense,
    Merge: merge,
    Pool: pool,
    Scale: scale,
    Transpose: transpose,
    UpSample: up_sample,
}
