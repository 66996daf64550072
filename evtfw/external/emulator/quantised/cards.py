"""What the card of a rewritten network says about each layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.quantised.graph import Graph
from evtfw.external.emulator.quantised.targets import Target

if TYPE_CHECKING:
    from onnx import NodeProto

_KINDS: Final = {
    "Gemm": "dense",
    "MatMul": "dense",
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "Clip": "clipped_relu",
    "MaxPool": "max_pool",
    "GlobalMaxPool": "max_pool",
    "AveragePool": "average_pool",
    "GlobalAveragePool": "average_pool",
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Concat": "concatenate",
    "Flatten": "reshape",
    "Squeeze": "reshape",
    "Unsqueeze": "reshape",
    "BatchNormalization": "scale",
    "Resize": "upsample",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Formats:
    """The arithmetic of one layer; fields are those of `LayerCard`."""

    weights: str
    bias: str
    input_format: str
    weight_format: str
    bias_format: str
    accumulator_format: str
    result_format: str


def layer_cards(graph: Graph, targets: Mapping[str, Target]) -> tuple[LayerCard, ...]:
    """Return the cards of a folded graph's nodes, without formats; axes of unknown length are 0."""
    return tuple(_card(graph, node, targets.get(node.name)) for node in graph.nodes)


def with_formats(cards: tuple[LayerCard, ...], formats: Mapping[str, Formats]) -> tuple[LayerCard, ...]:
    """Return cards with the formats of those layers that have any."""
    return tuple(
        card.model_copy(update=dataclasses.asdict(formats[card.name])) if card.name in formats else card
        for card in cards
    )


def _card(graph: Graph, node: NodeProto, target: Target | None) -> LayerCard:
    data = next((name for name in node.input if name and name not in graph.constants), "")
    output = _row(graph, node.output[0])
    card: dict[str, Any] = {
        "name": node.name,
        "kind": _kind(node, target),
        "input_shape": _row(graph, data),
        "output_shape": output,
    }
    if target is not None:
        card["multiplications"] = _multiplications(target, output)
        card["parameters"] = target.weight.size + (0 if target.bias is None else target.bias.size)
    return LayerCard.model_validate(card)


def _kind(node: NodeProto, target: Target | None) -> str:
    if node.op_type == "Conv" and target is not None:
        return f"{'depthwise' if target.is_depthwise else 'conv'}{target.weight.ndim - 2}d"
    return _KINDS.get(node.op_type, node.op_type.lower())


def _multiplications(target: Target, output: tuple[int, ...]) -> int:
    """For one row: each weight meets as many values as its output has positions."""
    positions = output[1:] if target.node.op_type == "Conv" else output[:-1]
    return int(target.weight.size) * math.prod(positions)


def _row(graph: Graph, tensor: str) -> tuple[int, ...]:
    shape = graph.shape(tensor) or ()
    return tuple(length or 0 for length in shape[1:])
