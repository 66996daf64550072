"""Layers that move values or repeat them; they keep the format of what they take, whatever is said of their result.

So does hls4ml: its ``Reshape``, ``Transpose`` and ``Resize`` give their output the type of their input.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed.graph import Format, GraphBuilder
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card, size
from evtfw.external.emulator.fixed.windows import reshaped
from evtfw.external.emulator.formats.fixed_point import FixedPointGrid
from evtfw.external.emulator.network import Layer, Reshape, Shape, Transpose, UpSample


def write_reshape(layer: Reshape, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write the same values in another shape."""
    source = graph.signals[layer.inputs[0]]
    if size(layer.shape) != size(source.shape):
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' gives {size(source.shape)} values the shape {layer.shape}"
        )
    name = source.name if source.shape == layer.shape else reshaped(graph, source.name, layer.shape)
    return _moved(layer, formats, graph, name, np.arange(size(source.shape)).reshape(layer.shape))


def write_transpose(layer: Transpose, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write axes in another order."""
    source = graph.signals[layer.inputs[0]]
    if sorted(layer.order) != list(range(len(source.shape))):
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' orders axes {layer.order} of rows of shape {source.shape}"
        )
    name = graph.node("Transpose", [source.name], perm=[0, *(axis + 1 for axis in layer.order)])
    return _moved(
        layer, formats, graph, name, np.arange(size(source.shape)).reshape(source.shape).transpose(layer.order)
    )


def write_up_sample(layer: UpSample, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write each value repeated."""
    source = graph.signals[layer.inputs[0]]
    if len(layer.factors) != len(source.shape) - 1 or min(layer.factors) < 1:
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' repeats rows of shape {source.shape} {layer.factors} times; it needs "
            f"a whole number for each axis after the channel's"
        )
    origins = np.arange(size(source.shape)).reshape(source.shape)
    name = source.name
    for axis, factor in enumerate(layer.factors, start=1):
        origins = np.repeat(origins, factor, axis)
        places = np.repeat(np.arange(source.shape[axis]), factor)
        name = graph.node("Gather", [name, graph.constant(places, np.int64)], axis=axis + 1) if factor > 1 else name
    return _moved(layer, formats, graph, name, origins)


def _moved(
    layer: Layer, formats: LayerFormats, graph: GraphBuilder, name: str, origins: NDArray[np.int64]
) -> LayerCard:
    """Set the signal of a layer's output, whose values come from places ``origins`` of its flattened input."""
    source = graph.signals[layer.inputs[0]]
    number = _format_at(source.format, source.shape, origins)
    graph.signals[layer.output] = dataclasses.replace(source, name=name, shape=origins.shape, format=number)
    return layer_card(layer, formats, source, result_format=str(number) if number is not None else "")


def _format_at(number: Format | None, shape: Shape, origins: NDArray[np.int64]) -> Format | None:
    """Return the formats of moved values."""
    if not isinstance(number, FixedPointGrid):
        return number
    fields = (number.is_signed, number.integer, number.fraction)
    is_signed, integer, fraction = (np.broadcast_to(field, shape).ravel()[origins] for field in fields)
    return dataclasses.replace(number, is_signed=is_signed, integer=integer, fraction=fraction)


WRITERS: Final[dict[type[Layer], Any]] = {
    Reshape: write_reshape,
    Transpose: write_transpose,
    UpSample: write_up_sample,
}
