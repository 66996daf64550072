"""ONNX models, as PyTorch, Keras and tf2onnx export them, and QONNX models become networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Layer, Network, Quantise, Reshape
from evtfw.external.emulator.reading import elementwise, linear, qonnx_nodes, shaping
from evtfw.external.emulator.reading.folding import MayFold, fold
from evtfw.external.emulator.reading.onnx_graph import Node, load
from evtfw.external.emulator.reading.reader import Affine, Reader, Unsupported

Handler: TypeAlias = Callable[[Reader, Node], None]

HANDLERS: Final[Mapping[str, Handler]] = {
    "Gemm": linear.gemm,
    "MatMul": linear.matmul,
    "Conv": linear.convolution,
    "BatchNormalization": linear.batch_normalisation,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), linear.arithmetic),
    **dict.fromkeys(("Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh"), elementwise.activation),
    "Clip": elementwise.clip,
    "Softmax": elementwise.softmax,
    **dict.fromkeys(("MaxPool", "AveragePool"), elementwise.pool),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool"), elementwise.global_pool),
    **dict.fromkeys(("ReduceMean", "ReduceMax"), elementwise.reduce),
    **dict.fromkeys(("Resize", "Upsample"), elementwise.resize),
    **dict.fromkeys(("Identity", "Dropout"), shaping.same),
    "Cast": shaping.cast,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), shaping.reshape),
    "Transpose": shaping.transpose,
    "Concat": shaping.concatenate,
    **dict.fromkeys(("Quant", "IntQuant"), qonnx_nodes.quantise),
    "BipolarQuant": qonnx_nodes.bipolar,
    "Trunc": qonnx_nodes.truncate,
}
"""What can be read, by ONNX's type of operation."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReadModel:
    """What was read.

    Args:
        network: without anything that the source's weights do not say.
        weight_formats, bias_formats: of layers whose parameters the source quantises itself, by name of the layer.
        folded: by name of a node, the layer that has taken it in.
        sources: node that a layer was read from, by name of the layer; layers made up by the reader have none.
        nodes: names of all nodes, inputs and constants of the source.
        notes: remarks for the card.
    """

    network: Network
    weight_formats: Mapping[str, FixedPoint]
    bias_formats: Mapping[str, FixedPoint]
    folded: Mapping[str, str]
    sources: Mapping[str, Node]
    nodes: frozenset[str]
    notes: tuple[str, ...] = ()

    @property
    def is_quantised(self) -> bool:
        """Whether the source rounds values itself, as QONNX does."""
        return any(isinstance(layer, Quantise) for layer in self.network.layers)


FoldingRule: TypeAlias = Callable[[Mapping[str, Node]], MayFold]
"""Makes the rule of what may be folded from the node that each layer was read from."""


def read(model: Path | Any, rule: FoldingRule | None = None, *, file: str = "") -> ReadModel:
    """Read a model.

    Args:
        model: a file, or an `onnx.ModelProto`.
        rule: whether a layer may take in the normalisation or addition behind it; None: all may, except that layers
            with quantised weights take in additions only.
        file: name of the model for messages; default: that of the file or the graph.

    Raises:
        ConfigurationError: something in it cannot be emulated; all such nodes are named.
    """
    graph = load(model, file)
    reader = Reader(graph)
    problems = [problem for node in graph.nodes if (problem := _read(reader, node))]
    problems += [f"{graph.file}: output '{name}' does not depend on any input" for name in _unmade(reader)]
    if problems:
        raise ConfigurationError(problems)
    for name in graph.outputs:
        _make_output(reader, name)

    def by_default(before: Layer, affine: Affine) -> bool:
        return before.name not in reader.weight_formats or affine.is_bias

    layers, folded = fold(reader.layers, graph.outputs, rule(reader.sources) if rule else by_default)
    for taken, by in folded.items():
        if taken in reader.bias_formats:
            reader.bias_formats.setdefault(by, reader.bias_formats.pop(taken))
    return ReadModel(
        network=Network(graph.file, graph.inputs, graph.outputs, tuple(layers)),
        weight_formats=reader.weight_formats,
        bias_formats=reader.bias_formats,
        folded=folded,
        sources=reader.sources,
        nodes=frozenset({node.name for node in graph.nodes} | set(graph.constants) | set(graph.shapes)),
        notes=tuple(reader.notes),
    )


def _read(reader: Reader, node: Node) -> str:
    """Read a node; return what is wrong with it, if anything."""
    handler = HANDLERS.get(node.op)
    if handler is None:
        return (
            f"{reader.graph.file}: {node} is an operation that cannot be emulated{nearest(node.op, HANDLERS)}; "
            "replace it, or end the emulated model before it and compute the rest on the host"
        )
    try:
        handler(reader, node)
    except Unsupported as error:
        return f"{reader.graph.file}: {node}: {error}"
    return ""


def _unmade(reader: Reader) -> list[str]:
    outputs = {output for node in reader.graph.nodes for output in node.outputs}
    inputs = {tensor.name for tensor in reader.graph.inputs}
    return [name for name in reader.graph.outputs if name not in outputs | inputs]


def _make_output(reader: Reader, name: str) -> None:
    """Give a layer to an output that is another tensor under a new name."""
    source = reader.aliases.get(name, name)
    if source != name or any(tensor.name == name for tensor in reader.graph.inputs):
        shape = reader.row(source)
        reader.add(Reshape(name=reader.unique(f"{name}/same"), inputs=(source,), output=name, shape=shape))
