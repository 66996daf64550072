"""An ONNX graph while it is rewritten: nodes in order, constants as arrays, types and shapes of tensors."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Dimension: TypeAlias = int | None

OLDEST_OPSET: Final = 18
"""Older models are brought to it: since then `ReduceMax` takes its axes as an input."""
NEWEST_IR_VERSION: Final = 10
"""What every onnxruntime since 1.18 reads; onnx itself may write a newer one."""


@dataclasses.dataclass(frozen=True, slots=True)
class TensorType:
    """What shape inference found.

    Args:
        element: a number of ``onnx.TensorProto``; 0 if unknown.
        shape: with None for axes of free length; None if unknown.
    """

    element: int
    shape: tuple[Dimension, ...] | None


class Graph:
    """Nodes and constants of a model, to be edited in place; the model itself is not changed.

    Args:
        model: with its weights in it.

    Raises:
        ConfigurationError: the model is too old to be converted, or its graph is not one that onnx understands.
    """

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper

        self._model = _modern(model)
        graph = self._model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input if value.name not in self.constants)
        self.outputs = tuple(value.name for value in graph.output)
        del graph.initializer[:]
        _name(self.nodes)
        self.types: dict[str, TensorType] = {}
        self._names = {name for node in self.nodes for name in (*node.input, *node.output)} | set(self.constants)

    @property
    def opset(self) -> int:
        """Version of ONNX' operators."""
        return _opset(self._model)

    def infer_types(self) -> None:
        """Find out `types`, from nodes and constants as they are now."""
        import onnx

        try:
            inferred = onnx.shape_inference.infer_shapes(self.model(), data_prop=True).graph
        except onnx.shape_inference.InferenceError as error:
            raise ConfigurationError(f"the model's graph is inconsistent: {error}") from error
        for value in (*inferred.input, *inferred.output, *inferred.value_info):
            tensor = value.type.tensor_type
            dims = tensor.shape.dim if tensor.HasField("shape") else None
            shape = None if dims is None else tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
            self.types[value.name] = TensorType(tensor.elem_type, shape)

    def shape(self, tensor: str) -> tuple[Dimension, ...] | None:
        """Shape of a tensor, with None for free axes; None if it is unknown."""
        if tensor in self.constants:
            return self.constants[tensor].shape
        found = self.types.get(tensor)
        return found.shape if found else None

    def is_float32(self, tensor: str) -> bool:
        """Whether a tensor is known to be float32."""
        from onnx import TensorProto

        return tensor in self.types and self.types[tensor].element == TensorProto.FLOAT

    def producers(self) -> dict[str, NodeProto]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.output if name}

    def consumers(self) -> dict[str, list[NodeProto]]:
        """The nodes that take each tensor."""
        found: dict[str, list[NodeProto]] = collections.defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.input)):
                found[name].append(node)
        return found

    def only_consumer(self, tensor: str, consumers: dict[str, list[NodeProto]]) -> NodeProto | None:
        """The node that alone takes a tensor; None if there are others, or the tensor is an output of the model."""
        takers = consumers.get(tensor, [])
        return takers[0] if len(takers) == 1 and tensor not in self.outputs else None

    def fresh(self, name: str) -> str:
        """Return a name like this one that no tensor has yet."""
        name = free_name(name, self._names)
        self._names.add(name)
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant and return its name, which is a new one."""
        name = self.fresh(name)
        self.constants[name] = values
        return name

    def model(self) -> ModelProto:
        """Return a model of nodes and the constants that they take."""
        import onnx
        from onnx import numpy_helper

        used = {name for node in self.nodes for name in node.input} | set(self.outputs)
        initialisers = [numpy_helper.from_array(v, name) for name, v in self.constants.items() if name in used]
        before = self._model.graph
        inputs = [value for value in before.input if value.name in self.inputs]
        graph = onnx.helper.make_graph(self.nodes, before.name or "network", inputs, before.output, initialisers)
        made = onnx.helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        made.metadata_props.extend(self._model.metadata_props)
        return made


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return a name, with a number behind it if it is taken."""
    if wanted not in taken:
        return wanted
    return next(name for number in itertools.count(2) if (name := f"{wanted}_{number}") not in taken)


def _name(nodes: list[NodeProto]) -> None:
    """Give names to nodes that have none, or one that another has, too."""
    names = {node.name for node in nodes}
    seen: set[str] = set()
    for node in nodes:
        if not node.name or node.name in seen:
            node.name = free_name(node.name or node.output[0], names)
            names.add(node.name)
        seen.add(node.name)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return a node's attribute, or what it is by default."""
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _opset(model: ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def _modern(model: ModelProto) -> ModelProto:
    """Return the model with operators that are new enough, and a format that is old enough."""
    import onnx

    opset = _opset(model)
    if opset < OLDEST_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OLDEST_OPSET)
        except Exception as error:  # what it throws is C++'s
            raise ConfigurationError(
                f"the model has operators of opset {opset}, and onnx {onnx.__version__} cannot bring them to "
                f"{OLDEST_OPSET}: {error}; export it again with opset_version={OLDEST_OPSET}"
            ) from error
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ir_version = min(made.ir_version, NEWEST_IR_VERSION)
    return made
