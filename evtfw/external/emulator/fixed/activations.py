"""Functions of each value, as hls4ml's ``nnet_activation.h`` computes them."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import tables
from evtfw.external.emulator.fixed.dense import finest_fraction
from evtfw.external.emulator.fixed.graph import FLOAT64, SIGNIFICAND_BITS, GraphBuilder, Signal, exact_bits
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Activation, Layer


def write_activation(layer: Activation, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write an activation.

    Raises:
        ConfigurationError: a format that it needs is missing.
    """
    source = graph.signals[layer.inputs[0]]
    if layer.function in ("sigmoid", "tanh", "elu"):
        graph.signals[layer.output] = _from_table(layer, formats, graph, source)
        return layer_card(layer, formats, source, table_size=formats.table_size)
    if layer.function == "relu":
        exact = rectified(graph, source)
    elif layer.function == "leaky_relu":
        exact = _leaky(layer, formats, graph, source)
    elif layer.function == "clipped_relu":
        exact = _clipped(layer, graph, source)
    else:
        exact = source
    graph.signals[layer.output] = quantise(graph, exact, formats.result, layer=layer.name)
    return layer_card(layer, formats, source)


WRITERS: Final[dict[type[Layer], Any]] = {Activation: write_activation}


def rectified(graph: GraphBuilder, source: Signal) -> Signal:
    """Return the larger of 0 and each value."""
    if source.lowest >= 0:
        return source
    name = graph.node("Relu", [source.name])
    return dataclasses.replace(source, name=name, lowest=0.0, highest=max(source.highest, 0.0), format=None)


def _clipped(layer: Activation, graph: GraphBuilder, source: Signal) -> Signal:
    bound = graph.constant(layer.alpha * 2.0**source.scale, source.dtype)
    name = graph.node("Clip", [source.name, graph.constant(0.0, source.dtype), bound])
    return dataclasses.replace(
        source,
        name=name,
        fraction=max(source.fraction or 0, finest_fraction(np.array([layer.alpha]))),
        lowest=0.0,
        highest=min(max(source.highest, 0.0), layer.alpha),
        format=None,
    )


def _leaky(layer: Activation, formats: LayerFormats, graph: GraphBuilder, source: Signal) -> Signal:
    parameter = formats.parameter or formats.result
    if not isinstance(parameter, FixedPoint):
        raise ConfigurationError(f"{graph.name}: the slope of layer '{layer.name}' needs one format, not one per value")
    slope = float(parameter.quantise(layer.alpha))
    fraction = (source.fraction or 0) + max(0, finest_fraction(np.array([slope])))
    largest = max(source.magnitude, abs(slope) * source.magnitude)
    dtype = graph.exact_dtype(layer.name, largest, fraction, at_least=source.dtype)
    wide = graph.cast(source, dtype)
    sloped = graph.node("Mul", [wide.name, graph.constant(slope, dtype)])
    if 0 <= slope <= 1:
        name = graph.node("Max", [wide.name, sloped])
    else:
        is_positive = graph.node("Greater", [wide.name, graph.constant(0.0, dtype)])
        name = graph.node("Where", [is_positive, wide.name, sloped])
    ends = (slope * min(source.lowest, 0.0), max(source.highest, 0.0))
    low, high = min(0.0, *ends), max(*ends)
    return dataclasses.replace(wide, name=name, fraction=fraction, lowest=low, highest=high, format=None)


def _from_table(layer: Activation, formats: LayerFormats, graph: GraphBuilder, source: Signal) -> Signal:
    if formats.table is None or not isinstance(formats.result, FixedPoint):
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' ({layer.function}) is a table; it needs a format of its entries and "
            f"one format of its result"
        )
    if layer.function == "elu":
        return _elu(layer, formats, formats.table, graph, source)
    table = tables.sigmoid if layer.function == "sigmoid" else tables.tanh
    reach = 8 if layer.function == "sigmoid" else 4
    entries = formats.result.quantise(formats.table.quantise(table(formats.table_size)))
    half = formats.table_size // 2
    # Negative indices count from the end, so the entries of negative values move there.
    rolled = np.roll(entries, -half)
    index = tables.Index(formats.table_size / (2 * reach), -half, formats.table_size - 1 - half)
    return tables.look_up(graph, source, index, rolled, formats.result, layer=layer.name)


def _elu(layer: Activation, formats: LayerFormats, table: FixedPoint, graph: GraphBuilder, source: Signal) -> Signal:
    parameter = formats.parameter if isinstance(formats.parameter, FixedPoint) else table
    alpha = float(parameter.quantise(layer.alpha))
    exact = alpha * table.quantise(tables.elu(formats.table_size))
    result = formats.result
    if not isinstance(result, FixedPoint):
        raise ConfigurationError(f"{graph.name}: layer '{layer.name}' needs one format of its result")
    index = tables.Index(-formats.table_size / 8, 0, formats.table_size - 1)
    below = tables.look_up(graph, source, index, result.quantise(exact), result, layer=layer.name)
    above = quantise(graph, rectified(graph, source), result, layer=layer.name)
    # Entry 0 is 0, and so is the rectified value where the table counts: one of the two is always 0.
    dtype = max(below.dtype, above.dtype, key=lambda kind: kind.itemsize)
    if exact_bits(result.highest, result.fraction) > SIGNIFICAND_BITS[dtype]:
        dtype = FLOAT64
    name = graph.node("Add", [graph.cast(below, dtype).name, graph.cast(above, dtype).name])
    low, high = min(below.lowest, above.lowest), max(below.highest, above.highest)
    return dataclasses.replace(above, name=name, dtype=dtype, lowest=low, highest=high, fraction=result.fraction)
