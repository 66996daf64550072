"""Maximum and mean over windows, as hls4ml computes them (``nnet_pooling.h``, ``io_parallel``)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import arithmetic
from evtfw.external.emulator.fixed.graph import GraphBuilder, Signal
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card, size
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.fixed.summation import sums_in
from evtfw.external.emulator.fixed.windows import Sliding, channels_first, check_sliding, reshaped, windows
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Layer, Pool


def write_pool(layer: Pool, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write a pool; `LayerFormats.accumulator` is what a window's maximum or mean is kept in before the result."""
    source = graph.signals[layer.inputs[0]]
    sliding = Sliding(layer.window, layer.strides, layer.pads, (1,) * len(layer.window))
    check_sliding(graph, layer.name, sliding, source, layer.shape)
    write = _maximum if layer.function == "max" else _mean
    pooled = write(layer, sliding, formats.accumulator, source, graph)
    graph.signals[layer.output] = quantise(graph, pooled, formats.result, layer=layer.name)
    return layer_card(layer, formats, source)


def _maximum(
    layer: Pool, sliding: Sliding, accumulator: FixedPoint | None, source: Signal, graph: GraphBuilder
) -> Signal:
    """Return the maxima, rounded to the accumulator, which hls4ml's ``max`` returns."""
    if any(layer.pads):
        source = _padded(layer, source, graph)
    name = graph.node("MaxPool", [source.name], kernel_shape=list(layer.window), strides=list(layer.strides))
    shape = (source.shape[0], *dataclasses.replace(sliding, pads=(0,) * len(layer.pads)).positions(source.shape))
    if shape != layer.shape:
        name = reshaped(graph, name, layer.shape)
    pooled = dataclasses.replace(source, name=name, shape=layer.shape, format=None)
    return pooled if accumulator is None else quantise(graph, pooled, accumulator, layer=layer.name)


def _padded(layer: Pool, source: Signal, graph: GraphBuilder) -> Signal:
    """Return the row with hls4ml's ``pad_val`` around it: only the top bit set, whatever that means.

    So padding is the least of a signed format, but half the range of an unsigned one.
    """
    number = source.format
    if not isinstance(number, FixedPoint):
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' pads values that have a format each, for which hls4ml defines no "
            f"padding; give its input one format, or pools without pads"
        )
    padding = 2.0 ** (number.integer - 1) * (-1 if number.is_signed else 1)
    axes = len(layer.window)
    pads = [0, 0, *layer.pads[:axes], 0, 0, *layer.pads[axes:]]
    fill = graph.constant(padding * 2.0**source.scale, source.dtype)
    name = graph.node("Pad", [source.name, graph.constant(pads, np.int64), fill])
    shape = (
        source.shape[0],
        *(n + a + b for n, a, b in zip(source.shape[1:], layer.pads[:axes], layer.pads[axes:], strict=True)),
    )
    lowest, highest = min(source.lowest, padding), max(source.highest, padding)
    return dataclasses.replace(source, name=name, shape=shape, lowest=lowest, highest=highest)


def _mean(layer: Pool, sliding: Sliding, accumulator: FixedPoint | None, source: Signal, graph: GraphBuilder) -> Signal:
    """Return the means: sums in the accumulator, divided as integers are divided, cut towards 0."""
    places = sliding.places(source.shape)
    counts = (places < size(source.shape[1:])).sum(axis=1, keepdims=True)
    if layer.counts_padding:
        counts = np.full_like(counts, places.shape[1])
    if not counts.all():
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' has windows that see padding only, so hls4ml divides by 0; give it "
            f"fewer pads"
        )
    kept = accumulator or mean_accumulator(source, places.shape[1])
    total = sums_in(graph, windows(graph, source, places), kept, layer=layer.name)
    # The quotient of integers that the type holds never rounds up to the next integer: it is cut rightly.
    quotient = graph.node("Div", [total.name, graph.constant(counts, total.dtype)])
    cut = dataclasses.replace(
        total,
        name=quotient,
        fraction=kept.fraction,
        lowest=total.lowest / counts.min(),
        highest=total.highest / counts.min(),
        format=None,
    )
    return channels_first(graph, graph.cast(graph.cast(cut, np.dtype(np.int64)), total.dtype), layer.shape)


def mean_accumulator(source: Signal, values: int) -> FixedPoint:
    """Return the accumulator that hls4ml infers for a mean of so many values: wide enough, some bits finer.

    Source: hls4ml 1.3, ``model/optimizer/passes/infer_precision.py``, ``_infer_pooling_precision``.
    """
    number, more = source.format, math.ceil(math.log2(values))
    if not isinstance(number, FixedPoint):
        fraction = arithmetic.steps_of(source)
        is_signed, highest = source.lowest < 0, max(source.magnitude, 2.0**-fraction) + 2.0**-fraction
        integer = math.ceil(math.log2(highest)) + is_signed
        number = FixedPoint(integer + fraction, integer, is_signed)
    return FixedPoint(number.width + 2 * more, number.integer + more, number.is_signed)


WRITERS: Final[dict[type[Layer], Any]] = {Pool: write_pool}
