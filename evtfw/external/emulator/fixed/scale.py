"""A batch normalisation of its own, as hls4ml's ``nnet_batchnorm.h`` computes it: exact, then rounded to the result."""

from __future__ import annotations

from typing import Any, Final

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import arithmetic
from evtfw.external.emulator.fixed.dense import rounded_parameter
from evtfw.external.emulator.fixed.graph import GraphBuilder
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card, size
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.network import Layer, Scale


def write_scale(layer: Scale, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write ``x * scale + shift`` for each channel."""
    source = graph.signals[layer.inputs[0]]
    if formats.weight is None:
        raise ConfigurationError(f"{graph.name}: layer '{layer.name}' has a scale, but no number format for it")
    along_channels = (-1, *(1,) * (len(source.shape) - 1))
    scale = rounded_parameter(layer.scale, formats.weight, formats).reshape(along_channels)
    shift = rounded_parameter(layer.shift, formats.bias or formats.weight, formats).reshape(along_channels)
    factors = arithmetic.parameters(graph, scale, f"{layer.name}_weight")
    shifts = arithmetic.parameters(graph, shift, f"{layer.name}_bias")
    product = arithmetic.multiply(graph, source, factors, layer=layer.name)
    exact = arithmetic.add(graph, product, shifts, layer=layer.name)
    graph.signals[layer.output] = quantise(graph, exact, formats.result, layer=layer.name)
    return layer_card(
        layer,
        formats,
        source,
        multiplications=size(source.shape),
        parameters=layer.scale.size + layer.shift.size,
        weights=factors.name,
        bias=shifts.name,
    )


WRITERS: Final[dict[type[Layer], Any]] = {Scale: write_scale}
