"""HGQ2's models, with a learned width for every weight and value, become networks.

Keras lays rows out channels last, the emulator channels first: layers that need the latter stand between
transpositions, most of which undo each other and are left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid
from evtfw.external.emulator.network import (
    Activation,
    Conv,
    Dense,
    Floats,
    Layer,
    Merge,
    Network,
    Pool,
    Quantise,
    Reshape,
    Shape,
    Softmax,
    Tensor,
    Transpose,
)
from evtfw.external.emulator.reading.folding import fold
from evtfw.external.emulator.reading.hgq2_file import KerasLayer, KerasModel, load
from evtfw.external.emulator.reading.native_formats import exact

_FUNCTIONS: Final = {"relu": "relu", "linear": "linear", "sigmoid": "sigmoid", "tanh": "tanh"}


@dataclasses.dataclass(frozen=True, eq=False)
class ReadHgq2:
    """What was read.

    Args:
        network: with a `Quantise` layer wherever HGQ2 rounds.
        weight_formats, bias_formats: that hold all parameters of a layer, by its name.
    """

    network: Network
    weight_formats: Mapping[str, FixedPoint]
    bias_formats: Mapping[str, FixedPoint]


def read(file: Path) -> ReadHgq2:
    """Read a ``.keras`` file.

    Raises:
        ConfigurationError: it has layers that cannot be emulated; all are named.
    """
    model = load(file)
    reader = _Reader(model)
    problems = []
    for layer in model.layers:
        handler = _HANDLERS.get(layer.kind)
        if handler is None:
            problems.append(
                f"{file}: layer '{layer.name}' is a {layer.kind}, which cannot be read{nearest(layer.kind, _HANDLERS)}"
            )
            reader.tensors[layer.name] = reader.tensors[layer.inputs[0]] if layer.inputs else ""
            continue
        try:
            if not problems:
                handler(reader, layer)
        except ConfigurationError as error:
            problems += [f"{file}: layer '{layer.name}' ({layer.kind}): {problem}" for problem in error.problems]
    if problems:
        raise ConfigurationError(problems)
    outputs = tuple(reader.tensors[name] for name in model.outputs)
    layers, _ = fold(reader.layers, outputs, lambda *_: False)
    network = Network(file.name, tuple(reader.inputs), outputs, tuple(layers))
    return ReadHgq2(network, reader.weight_formats, reader.bias_formats)


class _Reader:
    def __init__(self, model: KerasModel) -> None:
        self.layers: list[Layer] = []
        self.inputs: list[Tensor] = []
        self.tensors: dict[str, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.weight_formats: dict[str, FixedPoint] = {}
        self.bias_formats: dict[str, FixedPoint] = {}
        self.outputs = model.outputs

    def add(self, made: Layer) -> str:
        """Append a layer and return its output."""
        self.layers.append(made)
        self.shapes[made.output] = made.shape
        return made.output

    def place(self, name: str, source: str, shape: Shape | None = None) -> dict[str, Any]:
        """Return name, input, output and shape of a layer; its output has the layer's name."""
        return {
            "name": name,
            "inputs": (source,),
            "output": name,
            "shape": self.shapes[source] if shape is None else shape,
        }

    def quantised(self, layer: KerasLayer, source: str, key: str, settings: Any, name: str) -> str:
        """Round values, laid out channels last, by one of a layer's quantisers."""
        if settings is None:
            raise ConfigurationError("its quantiser has no settings; save the model by HGQ2 >= 0.2")
        grid = layer.grid(key, settings)
        row = FixedPointGrid(grid.is_signed[0], grid.integer[0], grid.fraction[0], grid.rounding, grid.overflow)
        return self.add(Quantise(**self.place(f"{layer.name}/{name}", source), format=row.uniform() or row))

    def input_of(self, layer: KerasLayer) -> str:
        """Return a layer's input, rounded if the layer does so."""
        source = self.tensors[layer.inputs[0]]
        if layer.settings.get("enable_iq"):
            return self.quantised(layer, source, "iq", layer.settings["iq_conf"], "iq")
        return source

    def finish(self, layer: KerasLayer, tensor: str) -> None:
        """Apply a layer's activation and the rounding of its output."""
        function = layer.settings.get("activation") or "linear"
        if function != "linear":
            tensor = self.activated(f"{layer.name}/{function}", tensor, function)
        if layer.settings.get("enable_oq"):
            tensor = self.quantised(layer, tensor, "oq", layer.settings["oq_conf"], "oq")
        self.tensors[layer.name] = tensor

    def activated(self, name: str, tensor: str, function: Any) -> str:
        """Apply a function of each value, or a softmax."""
        if function == "softmax":
            return self.add(Softmax(**self.place(name, tensor)))
        if not isinstance(function, str) or function not in _FUNCTIONS:
            raise ConfigurationError(
                f"its activation {function} cannot be emulated{nearest(str(function), _FUNCTIONS)}"
            )
        return self.add(Activation(**self.place(name, tensor), function=_FUNCTIONS[function]))  # type: ignore[arg-type]

    def first(self, tensor: str, name: str) -> str:
        """Lay rows out channels first."""
        shape = self.shapes[tensor]
        order = (len(shape) - 1, *range(len(shape) - 1))
        return self.add(Transpose(**self.place(f"{name}/first", tensor, tuple(shape[a] for a in order)), order=order))

    def last(self, tensor: str, name: str) -> str:
        """Lay rows out channels last."""
        shape = self.shapes[tensor]
        order = (*range(1, len(shape)), 0)
        return self.add(Transpose(**self.place(f"{name}/last", tensor, tuple(shape[a] for a in order)), order=order))

    def parameters(self, layer: KerasLayer) -> tuple[Floats, Floats | None]:
        """Return a layer's weights and biases as HGQ2 rounds them."""
        weight = _rounded(layer, 0, "kq", layer.settings["kq_conf"])
        self.weight_formats[layer.name] = exact(weight)
        if not layer.settings.get("use_bias", True):
            return weight, None
        bias = _rounded(layer, 1, "bq", layer.settings["bq_conf"])
        self.bias_formats[layer.name] = exact(bias)
        return weight, bias


def _rounded(layer: KerasLayer, number: int, key: str, settings: Mapping[str, Any]) -> Floats:
    """Round a parameter; weights that HGQ2 trains under WRAP are only rounded, as their integer bits follow them."""
    grid, values = layer.grid(key, settings), layer.variable(number)
    if grid.overflow == "WRAP" and grid.rounding == "RND" and settings["config"].get("is_weight"):
        return np.asarray(np.ldexp(np.floor(np.ldexp(values, grid.fraction) + 0.5), -grid.fraction), np.float64)
    return grid.quantise(values)


def _input(reader: _Reader, layer: KerasLayer) -> None:
    shape = tuple(layer.settings.get("batch_shape") or layer.settings["batch_input_shape"])[1:]
    if None in shape:
        raise ConfigurationError(f"rows of shape {shape} have free axes; only the batch may be free")
    reader.inputs.append(Tensor(layer.name, shape, np.dtype(np.float32)))
    reader.shapes[layer.name] = shape
    reader.tensors[layer.name] = layer.name


def _dense(reader: _Reader, layer: KerasLayer) -> None:
    source = reader.input_of(layer)
    weight, bias = reader.parameters(layer)
    shape = (*reader.shapes[source][:-1], weight.shape[1])
    reader.finish(layer, reader.add(Dense(**reader.place(layer.name, source, shape), weight=weight, bias=bias)))


def _convolution(reader: _Reader, layer: KerasLayer) -> None:
    settings = layer.settings
    if settings.get("groups", 1) != 1 or settings.get("data_format", "channels_last") != "channels_last":
        raise ConfigurationError("groups and channels_first are not emulated")
    source = reader.first(reader.input_of(layer), layer.name)
    weight, bias = reader.parameters(layer)
    weight = np.ascontiguousarray(np.moveaxis(weight, (-1, -2), (0, 1)))
    strides, dilations = tuple(settings["strides"]), tuple(settings["dilation_rate"])
    size = reader.shapes[source][1:]
    pads, out = _windows(str(settings["padding"]), size, weight.shape[2:], strides, dilations)
    made = Conv(
        **reader.place(layer.name, source, (weight.shape[0], *out)),
        weight=weight,
        bias=bias,
        strides=strides,
        pads=pads,
        dilations=dilations,
    )
    reader.finish(layer, reader.last(reader.add(made), layer.name))


def _windows(padding: str, size: Shape, kernel: Shape, strides: Shape, dilations: Shape) -> tuple[Shape, Shape]:
    """Return padding and number of windows along each axis, by Keras' rules."""
    spans = [(width - 1) * dilation + 1 for width, dilation in zip(kernel, dilations, strict=True)]
    if padding == "valid":
        out = [(n - span) // stride + 1 for n, span, stride in zip(size, spans, strides, strict=True)]
        return (0,) * (2 * len(size)), tuple(out)
    if padding != "same":
        raise ConfigurationError(f"padding '{padding}' is not emulated; valid and same are")
    out = [math.ceil(n / stride) for n, stride in zip(size, strides, strict=True)]
    needed = [
        max((count - 1) * stride + span - n, 0)
        for count, stride, span, n in zip(out, strides, spans, size, strict=True)
    ]
    return (*(n // 2 for n in needed), *(n - n // 2 for n in needed)), tuple(out)


def _pool(reader: _Reader, layer: KerasLayer) -> None:
    source = reader.first(reader.input_of(layer), layer.name)
    settings = layer.settings
    window = _tuple(settings["pool_size"])
    strides = _tuple(settings.get("strides") or window)
    size = reader.shapes[source]
    pads, out = _windows(str(settings["padding"]), size[1:], window, strides, (1,) * len(window))
    function = "max" if "Max" in layer.kind else "average"
    made = Pool(
        **reader.place(layer.name, source, (size[0], *out)),
        function=function,  # type: ignore[arg-type]
        window=window,
        strides=strides,
        pads=pads,
    )
    reader.finish(layer, reader.last(reader.add(made), layer.name))


def _tuple(value: Any) -> Shape:
    return (value,) if isinstance(value, int) else tuple(value)


def _merge(reader: _Reader, layer: KerasLayer) -> None:
    sources = [reader.tensors[name] for name in layer.inputs]
    if layer.settings.get("enable_iq"):
        confs = layer.settings["iq_confs"]
        sources = [
            reader.quantised(layer, source, _key_of_input(number), confs[number], f"iq{number}")
            for number, source in enumerate(sources)
        ]
    operations = {"Add": "add", "QAdd": "add", "Multiply": "multiply", "QMultiply": "multiply", "Subtract": "subtract"}
    operation = operations.get(layer.kind, "subtract")
    fields = reader.place(layer.name, sources[0]) | {"inputs": tuple(sources)}
    reader.finish(layer, reader.add(Merge(**fields, operation=operation)))  # type: ignore[arg-type]


def _key_of_input(number: int) -> str:
    """Return where the quantiser of one of several inputs is in the file."""
    return "iq/quantizers/quantizer" + (f"_{number}" if number else "")


def _reshape(reader: _Reader, layer: KerasLayer) -> None:
    source = reader.tensors[layer.inputs[0]]
    size = math.prod(reader.shapes[source])
    shape = tuple(layer.settings.get("target_shape") or (size,))
    if -1 in shape:
        rest = math.prod(length for length in shape if length != -1)
        shape = tuple(size // rest if length == -1 else length for length in shape)
    reader.tensors[layer.name] = reader.add(Reshape(**reader.place(layer.name, source, shape)))


def _activation(reader: _Reader, layer: KerasLayer) -> None:
    settings = layer.settings
    if settings.get("negative_slope") or settings.get("max_value") or settings.get("threshold"):
        raise ConfigurationError("only a plain ReLU is read: no slope, maximum or threshold")
    function = "relu" if layer.kind == "ReLU" else settings["activation"]
    reader.tensors[layer.name] = reader.activated(layer.name, reader.tensors[layer.inputs[0]], function)


def _quantizer(reader: _Reader, layer: KerasLayer) -> None:
    source = reader.tensors[layer.inputs[0]]
    inner = dataclasses.replace(layer, weights={"self": layer.weights})
    reader.tensors[layer.name] = reader.quantised(inner, source, "self", layer.settings["config"], "q")


def _same(reader: _Reader, layer: KerasLayer) -> None:
    reader.tensors[layer.name] = reader.tensors[layer.inputs[0]]


_Handler: TypeAlias = Callable[[_Reader, KerasLayer], None]
_HANDLERS: Final[Mapping[str, _Handler]] = {
    "InputLayer": _input,
    "QDense": _dense,
    "QConv1D": _convolution,
    "QConv2D": _convolution,
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"), _pool),
    **dict.fromkeys(("QMaxPooling1D", "QMaxPooling2D", "QAveragePooling1D", "QAveragePooling2D"), _pool),
    **dict.fromkeys(("QAdd", "QMultiply", "QSubtract", "Add", "Multiply", "Subtract"), _merge),
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    **dict.fromkeys(("Activation", "ReLU"), _activation),
    "Quantizer": _quantizer,
    "Dropout": _same,
}
