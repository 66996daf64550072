"""Nodes without weights that keep the order of values: activations, pools, nearest-neighbour up-sampling."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from evtfw.external.emulator.network import Activation, Pool, Shape, Softmax, Transpose, UpSample
from evtfw.external.emulator.reading.linear import pads_of
from evtfw.external.emulator.reading.onnx_graph import Node
from evtfw.external.emulator.reading.reader import Reader, Unsupported

_FUNCTIONS: Final = {"Relu": "relu", "LeakyRelu": "leaky_relu", "Elu": "elu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
_SLOPES: Final = {"LeakyRelu": 0.01, "Elu": 1.0}


def activation(reader: Reader, node: Node) -> None:
    """A function of each value."""
    alpha = node.attributes.get("alpha", _SLOPES.get(node.op, 0.0))
    _activate(reader, node, _FUNCTIONS[node.op], _short(alpha))


def clip(reader: Reader, node: Node) -> None:
    """``min(max(x, 0), a)``."""
    low, high = reader.optional(node, 1, "lower bound"), reader.optional(node, 2, "upper bound")
    lowest = float(low) if low is not None else float(node.attributes.get("min", -math.inf))
    highest = float(high) if high is not None else float(node.attributes.get("max", math.inf))
    if lowest != 0:
        raise Unsupported(f"it clips to [{lowest:g}, {highest:g}]; emulated is a lower bound of 0")
    if highest >= np.finfo(np.float32).max:
        _activate(reader, node, "relu", 0.0)
    else:
        _activate(reader, node, "clipped_relu", _short(highest))


def _short(value: float) -> float:
    """Return the shortest decimal that is this float32: 0.3, not 0.30000001192092896."""
    return float(str(np.float32(value)))


def _activate(reader: Reader, node: Node, function: str, alpha: float) -> None:
    name, output, shape = reader.place(node)
    inputs = (reader.tensor(node),)
    reader.add(Activation(name=name, inputs=inputs, output=output, shape=shape, function=function, alpha=alpha))  # type: ignore[arg-type]


def softmax(reader: Reader, node: Node) -> None:
    """Along the last axis of a row."""
    name, output, shape = reader.place(node)
    axis = node.attributes.get("axis", -1)
    if axis not in (-1, len(shape)):
        raise Unsupported(f"it goes along axis {axis}; the last one is emulated: transpose the model there")
    reader.add(Softmax(name=name, inputs=(reader.tensor(node),), output=output, shape=shape))


def pool(reader: Reader, node: Node) -> None:
    """Maximum or mean over windows."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Unsupported("the places of its maxima are not emulated")
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    window = tuple(node.attributes["kernel_shape"])
    if len(window) not in (1, 2):
        raise Unsupported(f"it pools over {len(window)} axes; one or two are emulated")
    ones = (1,) * len(window)
    if tuple(node.attributes.get("dilations", ones)) != ones:
        raise Unsupported("dilated windows are not emulated")
    strides = tuple(node.attributes.get("strides", ones))
    pads = pads_of(node, reader.row(source)[1:], window, strides, ones)
    if node.attributes.get("ceil_mode", 0):
        pads = _enlarged(pads, reader.row(source)[1:], shape[1:], window, strides)
        if node.op == "AveragePool" and pads != pads_of(node, reader.row(source)[1:], window, strides, ones):
            raise Unsupported("means over windows that go beyond the padded input (ceil_mode=1) are not emulated")
    reader.add(
        Pool(
            name=name,
            inputs=(source,),
            output=output,
            shape=shape,
            function="max" if node.op == "MaxPool" else "average",
            window=window,
            strides=strides,
            pads=pads,
            counts_padding=bool(node.attributes.get("count_include_pad", 0)),
        )
    )


def _enlarged(pads: Shape, size: Shape, out: Shape, window: Shape, strides: Shape) -> Shape:
    """Return the padding with which ``out`` windows fit."""
    axes = len(window)
    after = [max(pads[axes + i], (out[i] - 1) * strides[i] + window[i] - size[i] - pads[i]) for i in range(axes)]
    return (*pads[:axes], *after)


def global_pool(reader: Reader, node: Node) -> None:
    """Maximum or mean over all of the spatial axes, which stay with length 1."""
    source = reader.tensor(node)
    _pool_all(reader, node, source, "max" if node.op == "GlobalMaxPool" else "average")


def reduce(reader: Reader, node: Node) -> None:
    """ReduceMean or ReduceMax over the spatial axes; those of a channels-last model are the first ones of a row."""
    source = reader.tensor(node)
    row = reader.row(source)
    given = reader.optional(node, 1, "axes")
    axes = node.attributes.get("axes", range(len(row) + 1)) if given is None else given.tolist()
    spatial = sorted(axis % (len(row) + 1) for axis in axes)
    function = "max" if node.op == "ReduceMax" else "average"
    if len(row) in (2, 3) and spatial == list(range(2, len(row) + 1)):
        _pool_all(reader, node, source, function)
    elif len(row) in (2, 3) and spatial == list(range(1, len(row))):
        order = (len(row) - 1, *range(len(row) - 1))
        first = reader.unique(f"{node.name}/channels_first")
        channels_first = tuple(row[axis] for axis in order)
        reader.add(Transpose(name=first, inputs=(source,), output=first, shape=channels_first, order=order))
        _pool_all(reader, node, first, function, channels_first)
    else:
        raise Unsupported(f"it reduces axes {spatial} of rows of {row}; all spatial axes are emulated")


def _pool_all(reader: Reader, node: Node, source: str, function: str, row: Shape | None = None) -> None:
    from evtfw.external.emulator.network import Reshape

    row = row or reader.row(source)
    name, output, shape = reader.place(node)
    pooled = (row[0],) + (1,) * (len(row) - 1)
    is_kept = shape == pooled
    made = output if is_kept else reader.unique(f"{node.name}/pooled")
    window = row[1:]
    reader.add(
        Pool(
            name=name,
            inputs=(source,),
            output=made,
            shape=pooled,
            function=function,  # type: ignore[arg-type]
            window=window,
            strides=window,
            pads=(0,) * (2 * len(window)),
        )
    )
    if not is_kept:
        reader.add(Reshape(name=reader.unique(f"{name}/reshape"), inputs=(made,), output=output, shape=shape))


def resize(reader: Reader, node: Node) -> None:
    """Each value repeated a whole number of times."""
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    row = reader.row(source)
    if node.attributes.get("mode", "nearest") != "nearest":
        raise Unsupported(f"mode '{node.attributes['mode']}' is not emulated; nearest is")
    factors = tuple(after // before for before, after in zip(row, shape, strict=True))
    if any(before * factor != after for before, factor, after in zip(row, factors, shape, strict=True)):
        raise Unsupported(f"rows of {row} become {shape}; whole factors are emulated")
    _check_nearest(node, factors)
    if factors[0] != 1:
        raise Unsupported("it repeats channels; only the axes after the channel's are emulated")
    reader.add(UpSample(name=name, inputs=(source,), output=output, shape=shape, factors=factors[1:]))


def _check_nearest(node: Node, factors: Shape) -> None:
    """Refuse rules that take other neighbours than plain repetition does."""
    if node.op == "Upsample":
        return
    where = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    rule = node.attributes.get("nearest_mode", "round_prefer_floor")
    repeats = {("asymmetric", "floor")} | {
        (mode, rounding)
        for mode in ("half_pixel", "pytorch_half_pixel")
        for rounding in ("round_prefer_floor", "round_prefer_ceil")
    }
    if (where, rule) not in repeats and set(factors) != {1}:
        raise Unsupported(f"coordinates '{where}' with '{rule}' are not plain repetition; use asymmetric with floor")
