"""Which tensors a device with 8-bit layers stores in 8 bits, and which of them have the same scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from evtfw.external.emulator.quantised.graph import Graph
from evtfw.external.emulator.quantised.targets import Target

if TYPE_CHECKING:
    from onnx import NodeProto

_KEEPS_VALUES: Final = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split", "Expand", "Tile"}
)
"""Operators whose results are among the values that they take, so that nothing is rounded again."""
_BOUNDS: Final = frozenset({"Relu", "Clip"})
"""Operators that a layer's rounding does on the way."""


def plan_storage(graph: Graph, targets: Mapping[str, Target]) -> dict[str, str]:
    """Return the tensors that are stored in 8 bits, in the graph's order, each with the one whose range it has.

    They are those that layers with weights take, and those between such layers, whatever is computed there. What comes
    before the first layer is the host's and stays in float; so does what comes after the last, which gives its sums.
    A ReLU's input is not stored if nothing else needs it: the layer before it bounds its results as it rounds them.
    """
    stored = _between(graph, targets)
    producers, consumers = graph.producers(), graph.consumers()
    for tensor in stored & producers.keys():
        taker = graph.only_consumer(tensor, consumers)
        is_bounded = taker is not None and taker.op_type == "Relu" and taker.output[0] in stored
        if is_bounded and producers[tensor].op_type not in _KEEPS_VALUES:
            stored.discard(tensor)
    measured_at: dict[str, str] = {}
    order = [*graph.inputs, *(name for node in graph.nodes for name in node.output)]
    for tensor in order:
        if tensor in stored:
            measured_at[tensor] = _measured_at(tensor, producers.get(tensor), measured_at)
    _adopt_bounds(graph, measured_at, consumers)
    return measured_at


def _between(graph: Graph, targets: Mapping[str, Target]) -> set[str]:
    """Return what layers take, and what leads from layers to layers."""
    behind_layers: set[str] = set()
    for node in graph.nodes:
        if node.name in targets or behind_layers.intersection(node.input):
            behind_layers.update(node.output)
    stored: set[str] = set()
    for node in reversed(graph.nodes):
        if node.name in targets:
            stored.add(targets[node.name].data)
        elif stored.intersection(node.output):
            stored.update(name for name in node.input if name in behind_layers and graph.is_float32(name))
    return stored


def _measured_at(tensor: str, maker: NodeProto | None, measured_at: Mapping[str, str]) -> str:
    """Return where the range of a tensor is measured: at the first tensor with the same values."""
    if maker is None or maker.op_type not in _KEEPS_VALUES | _BOUNDS:
        return tensor
    return measured_at.get(maker.input[0], tensor)


def _adopt_bounds(graph: Graph, measured_at: dict[str, str], consumers: Mapping[str, list[NodeProto]]) -> None:
    """Give a tensor that is only clipped the range behind the clip."""
    for tensor, place in list(measured_at.items()):
        taker = graph.only_consumer(tensor, dict(consumers))
        if taker is not None and taker.op_type == "Clip" and place == tensor and taker.output[0] in measured_at:
            clipped = taker.output[0]
            for name, at in measured_at.items():
                if at == place:
                    measured_at[name] = clipped
