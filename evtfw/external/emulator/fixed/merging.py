"""Layers of several inputs, as hls4ml computes them (``nnet_merge.h``): exact, then rounded to the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import arithmetic
from evtfw.external.emulator.fixed.graph import GraphBuilder, Signal
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.network import Layer, Merge

OPERATIONS: Final[dict[str, Callable[..., Signal]]] = {
    "add": arithmetic.add,
    "subtract": arithmetic.subtract,
    "multiply": arithmetic.multiply,
}


def write_merge(layer: Merge, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write a sum, difference, product or concatenation."""
    sources = [graph.signals[name] for name in layer.inputs]
    if layer.operation == "concatenate":
        merged = _concatenated(layer, sources, graph)
    elif len(sources) == 2:
        merged = OPERATIONS[layer.operation](graph, *sources, layer=layer.name)
    else:
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' ({layer.operation}) merges {len(sources)} tensors; hls4ml merges two, "
            f"so make it a chain of layers of two"
        )
    graph.signals[layer.output] = quantise(graph, merged, formats.result, layer=layer.name)
    return layer_card(layer, formats, sources[0])


def _concatenated(layer: Merge, sources: list[Signal], graph: GraphBuilder) -> Signal:
    """Return all values side by side; each keeps its own step, the signal has the finest."""
    dtype = max((source.dtype for source in sources), key=lambda dtype: dtype.itemsize)
    alike = [arithmetic.with_scale(graph, graph.cast(source, dtype), sources[0].scale) for source in sources]
    rank, axis = len(layer.shape), layer.axis % len(layer.shape)
    rests = {(len(s.shape), *s.shape[:axis], *s.shape[axis + 1 :]) for s in sources}
    if len(rests) != 1 or len(sources[0].shape) != rank:
        shapes = " and ".join(str(source.shape) for source in sources)
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' concatenates rows of shapes {shapes} along axis {axis}; they must be "
            f"the same along all others"
        )
    length = sum(source.shape[axis] for source in sources)
    return dataclasses.replace(
        alike[0],
        name=graph.node("Concat", [source.name for source in alike], axis=axis + 1),
        shape=(*sources[0].shape[:axis], length, *sources[0].shape[axis + 1 :]),
        fraction=max(arithmetic.steps_of(source) for source in sources),
        lowest=min(source.lowest for source in sources),
        highest=max(source.highest for source in sources),
        format=None,
    )


WRITERS: Final[dict[type[Layer], Any]] = {Merge: write_merge}
