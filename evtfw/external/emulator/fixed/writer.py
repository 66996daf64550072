"""A network in ap_fixed arithmetic becomes an ONNX model.

One function per kind of layer, ``write_KIND(layer, formats, graph) -> LayerCard``: it reads ``graph.signals[name]`` of
the layer's inputs, adds nodes, sets ``graph.signals[layer.output]`` and returns the layer's card. Each module of this
folder names its functions in ``WRITERS``; they come together here.

A writer makes its exact result first (bounds and finest step known), then rounds it by
`evtfw.external.emulator.fixed.rounding.quantise`, which adds only the nodes that the bounds call for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import (
    activations,
    convolution,
    dense,
    merging,
    pooling,
    reshaping,
    rounding,
    scale,
    softmax,
)
from evtfw.external.emulator.fixed.graph import FLOAT32, FLOAT64, SIGNIFICAND_BITS, GraphBuilder, Signal
from evtfw.external.emulator.fixed.layer_formats import LayerFormats
from evtfw.external.emulator.network import Layer, Network

if TYPE_CHECKING:
    import onnx

LayerWriter: TypeAlias = Callable[[Any, LayerFormats, GraphBuilder], LayerCard]

WRITERS: Final[dict[type[Layer], LayerWriter]] = {
    **rounding.WRITERS,
    **dense.WRITERS,
    **activations.WRITERS,
    **softmax.WRITERS,
    **convolution.WRITERS,
    **pooling.WRITERS,
    **merging.WRITERS,
    **reshaping.WRITERS,
    **scale.WRITERS,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What came of a network.

    Args:
        model: the ONNX model.
        layers: cards, in the network's order.
        notes: remarks for the model's card.
    """

    model: onnx.ModelProto
    layers: tuple[LayerCard, ...]
    notes: tuple[str, ...]


def write(network: Network, formats: Mapping[str, LayerFormats]) -> Written:
    """Write a network as an ONNX model that computes what the device computes, to the bit.

    Inputs and outputs keep names and shapes. An output has the dtype of the first input if that holds every value of
    its format, else float64.

    Args:
        network: to write.
        formats: by name of the layer, and by name of each input of the network.

    Raises:
        ConfigurationError: a layer has no formats, or cannot be emulated exactly; the message names it.
    """
    graph = GraphBuilder(network.name)
    graph.reserve(network.outputs)
    for tensor in network.inputs:
        wished = _formats_of(tensor.name, formats, network).result
        graph.signals[tensor.name] = rounding.quantise(graph, graph.add_input(tensor), wished, layer=tensor.name)
    cards = [_write_layer(layer, _formats_of(layer.name, formats, network), graph) for layer in network.layers]
    notes = [_write_output(name, graph, network) for name in network.outputs]
    return Written(graph.model(), tuple(cards), tuple(filter(None, notes)))


def _formats_of(name: str, formats: Mapping[str, LayerFormats], network: Network) -> LayerFormats:
    if name in formats:
        return formats[name]
    raise ConfigurationError(
        f"{network.name}: there are no number formats for '{name}'{nearest(name, sorted(formats))}; each layer and "
        f"each input needs them"
    )


def _write_layer(layer: Layer, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    writer = WRITERS.get(type(layer))
    if writer is None:
        kinds = ", ".join(sorted(kind.__name__ for kind in WRITERS))
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' is a {type(layer).__name__}, which has no ap_fixed arithmetic; "
            f"supported are {kinds}"
        )
    card = writer(layer, formats, graph)
    if graph.signals[layer.output].shape != layer.shape:
        raise ConfigurationError(
            f"{graph.name}: layer '{layer.name}' makes rows of shape {graph.signals[layer.output].shape}, but its "
            f"description says {layer.shape}"
        )
    return card


def _write_output(name: str, graph: GraphBuilder, network: Network) -> str:
    signal: Signal = graph.signals[name]
    wished = network.inputs[0].dtype
    wished = wished if wished in SIGNIFICAND_BITS else FLOAT32
    dtype = wished if signal.bits <= SIGNIFICAND_BITS[wished] else FLOAT64
    graph.add_output(name, signal, dtype)
    if dtype == wished:
        return ""
    return f"output '{name}' is {dtype.name}, as {wished.name} does not hold every value of {signal.format}"
