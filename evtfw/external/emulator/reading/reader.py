"""The state while a graph is read: layers made so far, and what went wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Floats, Layer, Scale, Shape
from evtfw.external.emulator.reading.onnx_graph import Node, OnnxGraph


class Unsupported(Exception):
    """A node cannot be read; the text says why and what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Scale):
    """``x * scale + shift`` along any axis, before it is folded into another layer or becomes a `Scale`.

    Args:
        axis: of a row.
        node: the ONNX node's name and type, as a configuration may know it.
        is_bias: it only adds.
    """

    axis: int
    is_bias: bool = False


@dataclasses.dataclass(eq=False)
class Reader:
    """Layers of a graph, in the making.

    Args:
        graph: what is read.
        layers: made so far.
        aliases: tensors that are another one under a new name.
        weight_formats: of the weights of layers that the source quantises itself.
        bias_formats: likewise of biases.
        notes: remarks for the card.
        sources: node that a layer was read from, by name of the layer.
    """

    graph: OnnxGraph
    layers: list[Layer] = dataclasses.field(default_factory=list)
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    weight_formats: dict[str, FixedPoint] = dataclasses.field(default_factory=dict)
    bias_formats: dict[str, FixedPoint] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    sources: dict[str, Node] = dataclasses.field(default_factory=dict)
    _names: set[str] = dataclasses.field(default_factory=set)

    def tensor(self, node: Node, index: int = 0) -> str:
        """Return the tensor that is a node's input, which must depend on the network's inputs.

        Raises:
            Unsupported: it is a constant.
        """
        name = node.inputs[index]
        if name in self.graph.constants or name in self.graph.quantisers:
            raise Unsupported(f"its input '{name}' is constant; the network's values must be there")
        return self.aliases.get(name, name)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor does not depend on the network's inputs."""
        return name in self.graph.constants or name in self.graph.quantisers

    def constant(self, node: Node, index: int, what: str) -> NDArray[Any]:
        """Return a node's input that must be constant, quantised if the source does so.

        Args:
            what: it is, for the message.

        Raises:
            Unsupported: it is none.
        """
        from evtfw.external.emulator.reading.qonnx_nodes import quantised_constant

        name = node.inputs[index]
        if name in self.graph.constants:
            return self.graph.constants[name]
        if name in self.graph.quantisers:
            return quantised_constant(self.graph, self.graph.quantisers[name])[0]
        raise Unsupported(f"its {what} '{name}' is computed, not constant; only constant ones can be emulated")

    def optional(self, node: Node, index: int, what: str) -> NDArray[Any] | None:
        """Return a node's constant input, or None if it is left out."""
        return self.constant(node, index, what) if len(node.inputs) > index and node.inputs[index] else None

    def format_of(self, name: str) -> FixedPoint | None:
        """Return the format of a constant that the source quantises; None if it does not."""
        from evtfw.external.emulator.reading.qonnx_nodes import quantised_constant

        node = self.graph.quantisers.get(name)
        return None if node is None else quantised_constant(self.graph, node)[1]

    def row(self, tensor: str) -> Shape:
        """Return the shape of a row of a tensor.

        Raises:
            Unsupported: it is unknown.
        """
        shape = self.graph.row(tensor)
        if shape is None:
            known = self.graph.shapes.get(tensor)
            raise Unsupported(
                f"the shape of '{tensor}' is unknown; export the model with fixed shapes (only the batch axis free)"
                if known is None
                else f"axis 0 of '{tensor}' {known} is not the batch's any more: rows of a batch must stay apart"
            )
        return shape

    def place(self, node: Node) -> tuple[str, str, Shape]:
        """Return the name, the output and its row's shape for a node's only layer."""
        name = self.unique(node.name)
        self.sources[name] = node
        return name, node.outputs[0], self.row(node.outputs[0])

    def unique(self, name: str) -> str:
        """Return a name that no other layer has."""
        number, new = 1, name
        while new in self._names:
            number, new = number + 1, f"{name}_{number}"
        self._names.add(new)
        return new

    def add(self, layer: Layer) -> None:
        """Append a layer."""
        self.layers.append(layer)

    def same(self, node: Node) -> None:
        """Take a node's output for its first input under another name."""
        self.aliases[node.outputs[0]] = self.tensor(node)

    def producer(self, tensor: str) -> Layer | None:
        """Return the layer that made a tensor."""
        return next((layer for layer in reversed(self.layers) if layer.output == tensor), None)


def floats(values: NDArray[Any]) -> Floats:
    """Return values as contiguous float64."""
    return np.ascontiguousarray(values, np.float64)
