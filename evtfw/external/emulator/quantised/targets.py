"""Which nodes of a folded graph are layers with weights, and so can be quantised."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.quantised.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

_HEAVY: Final = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "Einsum",
        "LSTM",
        "GRU",
        "RNN",
        "Attention",
        "ConvInteger",
        "DeformConv",
    }
)
"""Operators that multiply many values; a device that does not do them gains little."""


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """A layer with weights.

    Args:
        node: ``Conv`` [N, C, ...], ``Gemm`` with weights [outputs, inputs], or ``MatMul`` with [inputs, outputs].
        weight, bias: its constants, in float32.
        output_axis: of ``weight``.
    """

    node: NodeProto
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    output_axis: int

    @property
    def name(self) -> str:
        """Of the node."""
        return str(self.node.name)

    @property
    def data(self) -> str:
        """Name of the tensor that it takes."""
        return str(self.node.input[0])

    @property
    def outputs(self) -> int:
        """Channels that it makes."""
        return int(self.weight.shape[self.output_axis])

    @property
    def groups(self) -> int:
        """Groups of channels that do not mix; 1 but for some convolutions."""
        return int(attribute(self.node, "group", 1))

    @property
    def is_depthwise(self) -> bool:
        """Whether each output is made of one channel alone."""
        return self.node.op_type == "Conv" and self.groups > 1 and self.weight.shape[1] == 1


def find_targets(graph: Graph, keep: Collection[str]) -> tuple[dict[str, Target], list[str]]:
    """Return layers that can be quantised, by name, and notes of those that stay in float.

    Args:
        graph: folded.
        keep: names of nodes that shall stay in float.

    Raises:
        ConfigurationError: a name of ``keep`` is none of a node's, or no layer is left.
    """
    _check_names(keep, (node.name for node in graph.nodes))
    targets: dict[str, Target] = {}
    notes = []
    for node in graph.nodes:
        if node.op_type not in _HEAVY:
            continue
        name = node.name
        reason = "as asked" if name in keep else _why_not(graph, node)
        if reason:
            notes.append(f"{node.op_type} '{name}' is left in float32: {reason}")
        else:
            targets[name] = _target(graph, node)
    if not targets:
        found = collections.Counter(node.op_type for node in graph.nodes)
        operators = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())) or "no node at all"
        raise ConfigurationError(
            "the model has nothing to quantise: no convolution or dense layer (Conv, Gemm, MatMul) with constant "
            f"float32 weights; it has {operators}" + "".join(f"; {note}" for note in notes)
        )
    return targets, notes


def _check_names(keep: Collection[str], names: Iterable[str]) -> None:
    known = set(names)
    unknown = [name for name in keep if name not in known]
    if unknown:
        raise ConfigurationError(
            [f"the model has no node '{name}' to keep in float{nearest(name, known)}" for name in unknown]
        )


def _target(graph: Graph, node: NodeProto) -> Target:
    bias = graph.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else None
    return Target(node, graph.constants[node.input[1]], bias, output_axis=1 if node.op_type == "MatMul" else 0)


def _why_not(graph: Graph, node: NodeProto) -> str:
    """Return why a node cannot be quantised; nothing if it can."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return "this operator is not supported"
    constants: list[NDArray[Any] | None] = [graph.constants.get(name) for name in node.input[1:] if name]
    if node.input[0] in graph.constants or any(values is None for values in constants):
        return "its weights are no constants"
    if any(values is not None and values.dtype != np.float32 for values in constants):
        return "its weights are no float32"
    weight = graph.constants[node.input[1]]
    if node.op_type == "MatMul" and graph.shape(node.input[0]) is None:
        return "the shape of its input is unknown"
    if node.op_type == "MatMul" and weight.ndim != 2:
        return f"its weights are of shape {list(weight.shape)}, not [inputs, outputs]"
    if node.op_type == "Gemm" and (attribute(node, "transA", 0) or not attribute(node, "transB", 0)):
        return "its input is transposed, or its bias is no vector"
    return ""
