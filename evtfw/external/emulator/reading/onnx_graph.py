"""An ONNX graph made easy to read: functions inlined, constants folded, shapes known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.network import Shape, Tensor
from evtfw.external.emulator.reading.qonnx_nodes import QUANTISERS, with_standard_nodes

# Stands for the free batch size while shapes are inferred: a prime that no axis of a model has.
_ANY_BATCH: Final = 7919
_ROUNDS: Final = 20


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation of an ONNX graph.

    Args:
        name: of the node; that of its first output if it has none.
        op: ONNX's type of operation.
        inputs: names of tensors; empty for one that is left out.
        outputs: names of tensors.
        attributes: as Python values, text as `str`.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.op})"


@dataclasses.dataclass(frozen=True, eq=False)
class OnnxGraph:
    """What a reader needs of a model; everything that does not depend on the inputs is a constant.

    Args:
        file: name of the model for messages.
        name: of the graph.
        nodes: in an order in which they can be computed.
        constants: by name of the tensor.
        shapes: by name of the tensor, with the batch axis; only those that are known.
        batch: length of the batch axis in these shapes.
        inputs: rows of the network's inputs.
        outputs: names of the results.
        quantisers: nodes of QONNX by the tensor that they make of a constant.
    """

    file: str
    name: str
    nodes: tuple[Node, ...]
    constants: dict[str, NDArray[Any]]
    shapes: dict[str, Shape]
    batch: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    quantisers: dict[str, Node]

    def row(self, tensor: str) -> Shape | None:
        """Return the shape of a row of a tensor; None if it is unknown or axis 0 is not that of the batch."""
        shape = self.shapes.get(tensor)
        return shape[1:] if shape and shape[0] == self.batch else None


def load(model: Path | Any, file: str = "") -> OnnxGraph:
    """Read a model and prepare it.

    Args:
        model: a file, or an `onnx.ModelProto`, which is not changed.
        file: name of the model for messages; default: that of the file or the graph.

    Raises:
        ConfigurationError: the file cannot be read, is no ONNX model, or leaves more than the batch axis free.
    """
    file = file or (str(model) if isinstance(model, (str, Path)) else f"the model '{model.graph.name}'")
    proto = load_proto(model)
    batch = _settle_batch(file, proto)
    quantisers = _fold(file, proto)
    graph = proto.graph
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    return OnnxGraph(
        file=file,
        name=graph.name or "network",
        nodes=tuple(_nodes(node for node in graph.node if node.output[0] not in quantisers)),
        constants=constants,
        shapes=dict(_shapes(proto)),
        batch=batch,
        inputs=tuple(_inputs(graph, constants)),
        outputs=tuple(output.name for output in graph.output),
        quantisers=quantisers,
    )


def load_proto(model: Path | Any) -> Any:
    """Return a model as an `onnx.ModelProto` of standard and quantising nodes only; a model given is not changed.

    Raises:
        ConfigurationError: the file cannot be read, or is no ONNX model.
    """
    import onnx
    from onnx import inliner

    try:
        if isinstance(model, (str, Path)):
            proto = onnx.load(str(model))
        else:
            proto = onnx.ModelProto.FromString(model.SerializeToString())
    except OSError as error:
        raise ConfigurationError(f"{model} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's errors have no base in common
        raise ConfigurationError(f"{model} is no ONNX model: {error}") from error
    if not proto.graph.node:
        raise ConfigurationError(f"{model} is no ONNX model, or an empty one: it has no nodes")
    return with_standard_nodes(inliner.inline_local_functions(proto))


def _settle_batch(file: str, proto: Any) -> int:
    """Give the batch axis a length, the same for all inputs, and return it."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    problems, batches = [], set()
    for value in proto.graph.input:
        if value.name in constants:
            continue
        axes = value.type.tensor_type.shape.dim
        batches.add(axes[0].dim_value if axes else 1)
        free = [i for i, axis in enumerate(axes) if i and not axis.dim_value]
        if free:
            problems.append(
                f"{file}: axis {free[0]} of input '{value.name}' is free; only the batch axis 0 may be: "
                "export the model with fixed shapes"
            )
    if len(batches - {0}) > 1:
        problems.append(f"{file}: its inputs have batches of {sorted(batches)} rows; axis 0 must be the batch of all")
    if problems:
        raise ConfigurationError(problems)
    batch = max(batches) or _ANY_BATCH
    for value in (*proto.graph.input, *proto.graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes and value.name not in constants and not axes[0].dim_value:
            axes[0].dim_value = batch
    return batch


def _fold(file: str, proto: Any) -> dict[str, Node]:
    """Compute what does not depend on the inputs; return the quantisers of constants by their output."""
    import onnx

    graph = proto.graph
    quantisers: dict[str, Node] = {}
    for _ in range(_ROUNDS):
        inferred = onnx.shape_inference.infer_shapes(_with_identities(proto), data_prop=True)
        known = dict(_shapes(inferred))
        constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
        left, progress = [], False
        for node in graph.node:
            values = _evaluate(proto, node, constants, known, quantisers)
            if values is None:
                left.append(node)
                continue
            progress = True
            for name, value in zip(node.output, values, strict=False):
                constants[name] = value
                graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        del graph.node[:]
        graph.node.extend(left)
        if not progress:
            for values, found in ((graph.value_info, inferred.graph.value_info), (graph.output, inferred.graph.output)):
                del values[:]
                values.extend(found)
            return quantisers
    raise ConfigurationError(f"{file}: its constants cannot be folded; simplify it, e.g. by onnxsim")


def _with_identities(proto: Any) -> Any:
    """Return a copy in which quantisers, which shape inference does not know, are identities."""
    import onnx

    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    for node in copy.graph.node:
        if node.op_type in QUANTISERS:
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    return copy


def _evaluate(
    proto: Any, node: Any, constants: dict[str, NDArray[Any]], known: dict[str, Shape], quantisers: dict[str, Node]
) -> list[NDArray[Any]] | None:
    """Return what a node makes if that is constant."""
    if node.op_type == "Shape" and node.input[0] in known:
        return _shape_of(node, known[node.input[0]])
    if any(name and name not in constants for name in node.input):
        return None
    if node.op_type in QUANTISERS:
        quantisers.setdefault(node.output[0], *_nodes([node]))
        return None
    if node.domain not in ("", "ai.onnx") or node.op_type.startswith("Random"):
        return None
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    needed = {name: constants[name] for name in node.input if name}
    if sum(value.size for value in needed.values()) > 1 << 27:
        return None
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in needed.items()
    ]
    outputs = [helper.make_value_info(name, helper.make_tensor_type_proto(0, None)) for name in node.output]
    single = helper.make_model(helper.make_graph([node], "constant", values, outputs), opset_imports=proto.opset_import)
    try:
        with np.errstate(all="ignore"):
            return list(ReferenceEvaluator(single).run(None, needed))
    except Exception:  # whatever it cannot compute is no constant, and is refused where it is used
        return None


def _shape_of(node: Any, shape: Shape) -> list[NDArray[Any]] | None:
    limits = {attribute.name: attribute.i for attribute in node.attribute}
    return [np.array(shape[limits.get("start", 0) : limits.get("end", len(shape))], np.int64)]


def _shapes(proto: Any) -> Iterator[tuple[str, Shape]]:
    graph = proto.graph
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(axis.dim_value for axis in kind.shape.dim):
            yield value.name, tuple(axis.dim_value for axis in kind.shape.dim)


def _nodes(protos: Iterable[Any]) -> Iterator[Node]:
    from onnx import helper

    for proto in protos:
        attributes = {attribute.name: _plain(helper.get_attribute_value(attribute)) for attribute in proto.attribute}
        name = proto.name or next((output for output in proto.output if output), proto.op_type)
        yield Node(name, proto.op_type, tuple(proto.input), tuple(proto.output), attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return tuple(value) if isinstance(value, list) or hasattr(value, "extend") else value


def _array(tensor: Any) -> NDArray[Any]:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _inputs(graph: Any, constants: dict[str, NDArray[Any]]) -> Iterator[Tensor]:
    from onnx import helper

    for value in graph.input:
        if value.name not in constants:
            kind = value.type.tensor_type
            shape = tuple(axis.dim_value for axis in kind.shape.dim)
            yield Tensor(value.name, shape[1:], np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))


def size_of(shape: Shape) -> int:
    """Return how many values a row of this shape has."""
    return math.prod(shape)
