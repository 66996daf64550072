"""Convolutions over one or two axes, as hls4ml computes them (``nnet_conv{1,2}d_latency.h``, ``nnet_sepconv*``).

Each output is a dot product of a window with weights, in the arithmetic of a dense layer, the window's values in the
order row, column, channel. Where no rounding happens before the sum is complete, onnxruntime's own ``Conv`` makes the
sums, exactly, in float32 (`evtfw.external.emulator.fixed.split_convolution`); else the windows are gathered.

hls4ml 1.3 knows dilations by name only: its generated windows ignore them. Here they mean what ONNX says.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import arithmetic
from evtfw.external.emulator.fixed.dense import Product, rounded_parameters, write_product
from evtfw.external.emulator.fixed.graph import FLOAT32, SIGNIFICAND_BITS, Format, GraphBuilder, Signal
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card, size
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.fixed.split_convolution import exact_convolution
from evtfw.external.emulator.fixed.summation import rounded_to_step, sums_in, wide_format
from evtfw.external.emulator.fixed.windows import Sliding, channels_first, check_sliding, reshaped, windows
from evtfw.external.emulator.formats.fixed_point import FixedPoint, Floats
from evtfw.external.emulator.network import Conv, Layer


def write_convolution(layer: Conv, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write a convolution; the card's weights are [values of a window, outputs], depthwise [values, channels]."""
    source = graph.signals[layer.inputs[0]]
    sliding = Sliding(layer.weight.shape[2:], layer.strides, layer.pads, layer.dilations)
    check_sliding(graph, layer.name, sliding, source, layer.shape)
    _check_groups(layer, source, graph)
    weight, bias = rounded_parameters(layer.name, as_matrix(layer), layer.bias, formats, graph)
    product = Product(layer.name, source, weight, bias, formats)
    total, names = _sums(layer, sliding, product, graph)
    result = quantise(graph, total, formats.result, layer=layer.name)
    is_narrow = result.bits <= SIGNIFICAND_BITS[FLOAT32]  # half the memory to move for what comes next
    graph.signals[layer.output] = graph.cast(result, FLOAT32) if is_narrow else result
    return layer_card(
        layer,
        formats,
        source,
        multiplications=layer.weight.size * size(layer.shape[1:]),
        parameters=layer.weight.size + (0 if layer.bias is None else layer.bias.size),
        weights=names[0],
        bias=names[1],
    )


def as_matrix(layer: Conv) -> Floats:
    """Return weights as [values of a window, outputs], the values in hls4ml's order; depthwise [places, channels]."""
    axes = layer.weight.ndim - 2
    order = (*range(2, 2 + axes), 1, 0)
    return layer.weight.transpose(order).reshape(-1, layer.weight.shape[0])


def _check_groups(layer: Conv, source: Signal, graph: GraphBuilder) -> None:
    channels, outputs = source.shape[0], layer.weight.shape[0]
    is_depthwise = layer.groups == channels == outputs and layer.weight.shape[1] == 1
    is_plain = layer.groups == 1 and layer.weight.shape[1] == channels
    if not is_plain and not is_depthwise:
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' has {layer.groups} groups, weights of shape {layer.weight.shape} and "
            f"{channels} input channels; hls4ml has convolutions of one group, and depthwise ones with as many groups "
            f"as input and output channels"
        )


def _sums(layer: Conv, sliding: Sliding, product: Product, graph: GraphBuilder) -> tuple[Signal, tuple[str, str]]:
    """Return sums as the accumulator holds them, in rows of the layer's shape, and the names of the parameters."""
    first = _first_cast(product)
    if first is not None:
        scale = first.fraction if isinstance(first, FixedPoint) else int(first.fraction.max())
        done = exact_convolution(graph, product, layer, scale)
        if done is not None:
            is_last = first is product.formats.result
            return done[0] if is_last else quantise(graph, done[0], first, layer=product.layer), done[1]
    seen = windows(graph, product.source, sliding.places(product.source.shape))
    if layer.groups > 1:
        total, names = _depthwise_sums(product, seen, graph)
    else:
        flat = (seen.shape[0], seen.shape[1] * seen.shape[2])
        seen = dataclasses.replace(seen, name=reshaped(graph, seen.name, flat), shape=flat)
        total, names = write_product(graph, dataclasses.replace(product, source=seen))
    return channels_first(graph, total, layer.shape), names


def _first_cast(product: Product) -> Format | None:
    """Return the format to which a sum is rounded first, where no product is rounded before; None: some are."""
    accumulator = product.formats.accumulator
    if accumulator is None or product.is_inside(accumulator):
        return product.formats.result
    return accumulator if accumulator.overflow == "WRAP" and not product.is_coarse(accumulator) else None


def _depthwise_sums(product: Product, seen: Signal, graph: GraphBuilder) -> tuple[Signal, tuple[str, str]]:
    """Return [windows, channels] from windows [windows, places, channels], as the accumulator holds them."""
    weight = arithmetic.parameters(graph, product.weight[None], f"{product.layer}_weight")
    bias = arithmetic.parameters(graph, product.bias[None], f"{product.layer}_bias")
    each = arithmetic.multiply(graph, seen, weight, layer=product.layer)
    low, high = (float(end) for end in (product.bounds()[0].min(), product.bounds()[1].max()))
    kept = product.formats.accumulator or wide_format(max(-low, high), product.fraction)
    if arithmetic.steps_of(each) > kept.fraction:
        slack = kept.step * seen.shape[1]
        low, high = low - slack, high + slack
    if kept.overflow == "WRAP" or (kept.lowest <= low and high <= kept.highest):
        each = rounded_to_step(graph, each, kept, layer=product.layer)
    else:
        each = quantise(graph, each, kept, layer=product.layer)
    total = sums_in(graph, each, kept, layer=product.layer, start=bias, bounds=(low, high))
    return total, (weight.name, bias.name)


WRITERS: Final[dict[type[Layer], Any]] = {Conv: write_convolution}
