"""Softmax in the four ways of hls4ml's ``nnet_activation.h``, along the last axis."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import tables
from evtfw.external.emulator.fixed.graph import FLOAT64, GraphBuilder, Signal
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, SoftmaxFormats, layer_card
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.formats.fixed_point import FixedPoint, Floats
from evtfw.external.emulator.network import Layer, Softmax

_LEGACY_REACH: Final = 64
"""Sum of exponentials at which the table of inverses ends."""


def write_softmax(layer: Softmax, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write a softmax.

    Raises:
        ConfigurationError: a format is missing, or a table does not fit what it is looked up with.
    """
    source = graph.signals[layer.inputs[0]]
    softmax = formats.softmax
    if softmax is None or not isinstance(formats.result, FixedPoint) or not isinstance(source.format, FixedPoint):
        raise ConfigurationError(
            f"{graph.name}: softmax '{layer.name}' needs formats of its tables, and one format each of its input and "
            f"its result"
        )
    if softmax.strategy == "argmax":
        graph.signals[layer.output] = _argmax(graph, source, formats.result)
        return layer_card(layer, formats, source)
    if softmax.strategy == "legacy":
        graph.signals[layer.output] = _legacy(layer.name, graph, source, formats, softmax)
    else:
        graph.signals[layer.output] = _normalised(layer.name, graph, source, formats.result, softmax)
    more = {"table_size": softmax.exponential_size, "table_format": str(softmax.exponential)}
    return layer_card(layer, formats, source, **more)


WRITERS: Final[dict[type[Layer], Any]] = {Softmax: write_softmax}


def _normalised(layer: str, graph: GraphBuilder, source: Signal, result: FixedPoint, softmax: SoftmaxFormats) -> Signal:
    """Exponentials times the inverse of their sum; ``stable`` subtracts each input from the largest first."""
    argument = source
    if softmax.strategy == "stable":
        argument = _below_largest(layer, graph, source, softmax)
    exponentials = _exponentials(layer, graph, argument, softmax)
    total = quantise(graph, _tree_sum(layer, graph, exponentials, softmax), softmax.inverse_input, layer=layer)
    inverse = _inverses(layer, graph, total, softmax)
    fraction = softmax.accumulator.fraction + softmax.inverse.fraction
    magnitude = exponentials.magnitude * inverse.magnitude
    dtype = graph.exact_dtype(layer, magnitude, fraction, at_least=exponentials.dtype)
    factors = [graph.cast(signal, dtype).name for signal in (exponentials, inverse)]
    ends = np.outer([exponentials.lowest, exponentials.highest], [inverse.lowest, inverse.highest])
    product = Signal(
        graph.node("Mul", factors), source.shape, fraction, fraction, float(ends.min()), float(ends.max()), dtype
    )
    return quantise(graph, product, result, layer=layer)


def _below_largest(layer: str, graph: GraphBuilder, source: Signal, softmax: SoftmaxFormats) -> Signal:
    if softmax.difference is None:
        raise ConfigurationError(f"{graph.name}: softmax '{layer}' is stable, so it needs a format of differences")
    reach = source.highest - source.lowest
    dtype = graph.exact_dtype(layer, reach, source.fraction or 0, at_least=source.dtype)
    wide = graph.cast(source, dtype)
    largest = graph.node("ReduceMax", [wide.name], axes=[-1], keepdims=1)
    name = graph.node("Sub", [largest, wide.name])
    below = dataclasses.replace(wide, name=name, lowest=0.0, highest=reach, format=None)
    return quantise(graph, below, softmax.difference, layer=layer)


def _exponentials(layer: str, graph: GraphBuilder, argument: Signal, softmax: SoftmaxFormats) -> Signal:
    size, address = softmax.exponential_size, _address(argument)
    values = _values_of_indices(layer, graph, address, size) * tables.float32(np.array(softmax.exponential_scale))
    sign = -1 if softmax.strategy == "stable" else 1
    with np.errstate(over="ignore"):
        entries = _kept(softmax.exponential, tables.float32(np.exp(sign * tables.float32(values))))
    index = _top_bits(graph, argument, address, size)
    accumulated = softmax.accumulator.quantise(entries)
    return tables.gather(graph, index, argument.shape, accumulated, softmax.accumulator, layer=f"{layer}_exp")


def _inverses(layer: str, graph: GraphBuilder, total: Signal, softmax: SoftmaxFormats) -> Signal:
    size = softmax.inverse_size
    with np.errstate(divide="ignore"):
        inverses = tables.float32(1 / _values_of_indices(layer, graph, softmax.inverse_input, size))
    index = _top_bits(graph, total, softmax.inverse_input, size)
    entries = _kept(softmax.inverse, inverses)
    return tables.gather(graph, index, total.shape, entries, softmax.inverse, layer=f"{layer}_inverse")


def _tree_sum(layer: str, graph: GraphBuilder, values: Signal, softmax: SoftmaxFormats) -> Signal:
    """Add up the last axis, [..., 1], in a tree of pairs as hls4ml does; each sum is in the accumulator's format."""
    accumulator, count = softmax.accumulator, values.shape[-1]
    low, high = min(count * values.lowest, values.lowest), max(count * values.highest, values.highest)
    is_inside = accumulator.lowest <= low and high <= accumulator.highest
    if not is_inside and accumulator.overflow != "WRAP":
        return _tree(layer, graph, values, accumulator, 0, count)
    dtype = graph.exact_dtype(layer, max(-low, high), values.fraction or 0, at_least=values.dtype)
    wide = graph.cast(values, dtype)
    axes = graph.constant([-1], np.int64)
    name = graph.node("ReduceSum", [wide.name, axes], keepdims=1)
    shape = (*values.shape[:-1], 1)
    total = dataclasses.replace(wide, name=name, shape=shape, lowest=low, highest=high, format=None)
    return quantise(graph, total, accumulator, layer=layer)


def _tree(layer: str, graph: GraphBuilder, values: Signal, accumulator: FixedPoint, first: int, count: int) -> Signal:
    if count == 1:
        name = graph.node("Gather", [values.name, graph.constant([first], np.int64)], axis=-1)
        return dataclasses.replace(values, name=name, shape=(*values.shape[:-1], 1))
    left = 1 << ((count - 1).bit_length() - 1)
    halves = [
        graph.cast(_tree(layer, graph, values, accumulator, *part), FLOAT64)
        for part in ((first, left), (first + left, count - left))
    ]
    name = graph.node("Add", [half.name for half in halves])
    low, high = (sum(getattr(half, end) for half in halves) for end in ("lowest", "highest"))
    added = dataclasses.replace(halves[0], name=name, lowest=low, highest=high, format=None)
    return quantise(graph, added, accumulator, layer=layer)


def _legacy(layer: str, graph: GraphBuilder, source: Signal, formats: LayerFormats, softmax: SoftmaxFormats) -> Signal:
    """``1 / sum(exp(x_j - x_i))``, each difference looked up, the sum's inverse too; all entries are ``table_t``."""
    table, result, size = formats.table, formats.result, softmax.exponential_size
    if table is None or not isinstance(result, FixedPoint):
        raise ConfigurationError(f"{graph.name}: softmax '{layer}' is legacy, so it needs a format of its table")
    reach = source.highest - source.lowest
    dtype = graph.exact_dtype(layer, reach, source.fraction or 0, at_least=source.dtype)
    wide = graph.cast(source, dtype)
    row, column = (graph.node("Unsqueeze", [wide.name, graph.constant([axis], np.int64)]) for axis in (-2, -1))
    count = source.shape[-1]
    difference = dataclasses.replace(
        wide,
        name=graph.node("Sub", [row, column]),
        shape=(*source.shape, count),
        lowest=-reach,
        highest=reach,
        format=None,
    )
    half = size // 2
    entries = np.roll(table.quantise(tables.exponential_legacy(size)), -half)
    if entries[0] != table.quantise(1.0):
        raise ConfigurationError(f"{graph.name}: softmax '{layer}' is legacy, so its table must have an even size")
    index = tables.Index(size / 16, -half, size - 1 - half)
    each = tables.look_up(graph, difference, index, entries, table, layer=f"{layer}_exp")
    total = _row_sum(layer, graph, each, table)
    with np.errstate(divide="ignore"):
        values = tables.float32(_LEGACY_REACH * np.arange(softmax.inverse_size) / softmax.inverse_size)
        inverses = np.where(values > 0, 1.0 / values, 0.0)
    found = tables.Index(softmax.inverse_size / _LEGACY_REACH, 0, softmax.inverse_size - 1)
    kept = result.quantise(table.quantise(inverses))
    return tables.look_up(graph, total, found, kept, result, layer=f"{layer}_inverse")


def _row_sum(layer: str, graph: GraphBuilder, each: Signal, table: FixedPoint) -> Signal:
    """Add up the last axis, one after another where the order matters."""
    count = each.shape[-1]
    high = count * each.highest
    if table.overflow == "WRAP" or high <= table.highest:
        dtype = graph.exact_dtype(layer, high, each.fraction or 0, at_least=each.dtype)
        axes = graph.constant([-1], np.int64)
        name = graph.node("ReduceSum", [graph.cast(each, dtype).name, axes], keepdims=0)
        total = dataclasses.replace(each, name=name, dtype=dtype, shape=each.shape[:-1], highest=high, format=None)
        return quantise(graph, total, table, layer=layer)
    wide = graph.cast(each, FLOAT64)
    picked = [graph.node("Gather", [wide.name, graph.constant(i, np.int64)], axis=-1) for i in range(count)]
    total = dataclasses.replace(wide, name=picked[0], shape=each.shape[:-1])
    for name in picked[1:]:
        high = total.highest + each.highest
        added = dataclasses.replace(total, name=graph.node("Add", [total.name, name]), highest=high, format=None)
        total = quantise(graph, added, table, layer=layer)
    return total


def _argmax(graph: GraphBuilder, source: Signal, result: FixedPoint) -> Signal:
    """1 for the first of the largest inputs."""
    best = graph.node("ArgMax", [source.name], axis=-1, keepdims=1)
    one = float(result.quantise(1.0))
    is_best = graph.node("Equal", [best, graph.constant(np.arange(source.shape[-1]), np.int64)])
    values = [graph.constant(value * 2.0**result.fraction, FLOAT64) for value in (one, 0.0)]
    name = graph.node("Where", [is_best, *values])
    ends = min(one, 0.0), max(one, 0.0)
    return Signal(name, source.shape, result.fraction, result.fraction, *ends, FLOAT64, result)


def _address(argument: Signal) -> FixedPoint:
    """Return the format whose bits are the index of a table."""
    if not isinstance(argument.format, FixedPoint):
        raise ConfigurationError("a table is looked up with the bits of one format")
    return argument.format


def _values_of_indices(layer: str, graph: GraphBuilder, address: FixedPoint, size: int) -> Floats:
    """Return the value that each index stands for, float32: its bits are the topmost, the others are 0."""
    bits = size.bit_length() - 1
    if size != 1 << bits or bits > address.width:
        raise ConfigurationError(
            f"{graph.name}: softmax '{layer}' has a table of {size} entries that is looked up with {address}; the "
            f"size must be a power of two, and at most 2**{address.width}"
        )
    index = np.arange(size, dtype=np.float64)
    if address.is_signed:
        index = np.where(index < size / 2, index, index - size)
    return tables.float32(np.ldexp(index, address.integer - bits))


def _top_bits(graph: GraphBuilder, signal: Signal, address: FixedPoint, size: int) -> str:
    """Write the topmost bits as an index; a negative one counts from the end, as its bits do."""
    exponent = size.bit_length() - 1 - address.integer - signal.scale
    name = signal.name
    if exponent:
        name = graph.node("Mul", [name, graph.constant(2.0**exponent, signal.dtype)])
        name = graph.node("Floor", [name])
    return graph.integers(name, np.int32)


def _kept(target: FixedPoint, values: Floats) -> Floats:
    """Return entries in a format; ap_fixed takes an infinity for 0 unless it saturates."""
    if target.overflow in ("SAT", "SAT_SYM"):
        return target.quantise(values)
    return target.quantise(np.where(np.isfinite(values), values, 0.0))
