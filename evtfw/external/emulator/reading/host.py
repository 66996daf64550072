"""What a model does to its inputs before the first layer that a device computes: logarithms and the like.

Such operations stay on the host, in the source's own floating point; the device takes what they make. In a converted
model they come before the rounding of the inputs.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Final

from evtfw.external.emulator.reading.onnx_reader import HANDLERS

# Functions of each value that no device of ours computes.
_FUNCTIONS: Final = frozenset({"Abs", "Exp", "Log", "Max", "Min", "Neg", "Pow", "Reciprocal", "Sign", "Sqrt"})
_LINEAR: Final = frozenset({"Add", "Sub", "Mul", "Div"})
_BEFORE: Final = (
    _FUNCTIONS | _LINEAR | {"Cast", "Clip", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Nodes that may come before one that stays on the host."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A model in two parts.

    Args:
        host: the part that stays on the host, an `onnx.ModelProto`; None: nothing.
        device: the part that is emulated.
        operations: of the host, for people.
    """

    host: Any
    device: Any
    operations: tuple[str, ...] = ()


def split(proto: Any) -> Split:
    """Part a model behind the functions of its inputs that can't be emulated; it is not changed.

    If one of them stands elsewhere the model is left whole, and its reader will refuse that node.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    graph = inferred.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants.update(node.output[0] for node in graph.node if node.op_type == "Constant")
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    unknown = [node for node in nodes if node.op_type not in HANDLERS and node.domain in ("", "ai.onnx")]
    hosted = _ancestors(unknown, nodes)
    if not unknown or any(node.op_type not in _BEFORE for node in hosted):
        return Split(None, proto)
    hosted = _with_linear(hosted, nodes, constants)
    names = {node.output[0] for node in hosted}
    made = {output for node in hosted for output in node.output}
    rest = [node for node in nodes if node.output[0] not in names]
    border = sorted(made & ({tensor for node in rest for tensor in node.input} | {o.name for o in graph.output}))
    inputs = [value.name for value in graph.input if value.name not in constants]
    straight = [name for name in inputs if any(name in node.input for node in rest)]
    if straight:
        return Split(None, proto)
    return Split(
        _part(inferred, inputs, border),
        _part(inferred, border, [value.name for value in graph.output]),
        tuple(f"'{node.name or node.output[0]}' ({node.op_type})" for node in hosted),
    )


def _ancestors(found: Iterable[Any], nodes: Iterable[Any]) -> list[Any]:
    """Return nodes and all that they depend on, in the graph's order."""
    makers = {output: node for node in nodes for output in node.output}
    names, open_nodes = set(), list(found)
    while open_nodes:
        node = open_nodes.pop()
        if node.output[0] not in names:
            names.add(node.output[0])
            open_nodes += [makers[tensor] for tensor in node.input if tensor in makers]
    return [node for node in nodes if node.output[0] in names]


def _with_linear(hosted: list[Any], nodes: list[Any], constants: Collection[str]) -> list[Any]:
    """Add scalings and shifts by constants that directly follow: a device gets finished inputs."""
    names = {node.output[0] for node in hosted}
    uses = Counter(tensor for node in nodes for tensor in node.input)
    for node in nodes:
        values = [tensor for tensor in node.input if tensor not in constants]
        if node.op_type in _LINEAR and len(values) == 1 and values[0] in names and uses[values[0]] == 1:
            names.add(node.output[0])
    return [node for node in nodes if node.output[0] in names]


def _part(proto: Any, inputs: list[str], outputs: list[str]) -> Any:
    from onnx import utils

    part = utils.Extractor(proto).extract_model(inputs, outputs)
    part.graph.name = proto.graph.name
    return part
