"""Before anything is quantised: constants are computed, batch normalisations become part of the layer before them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.quantised.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def fold(model: ModelProto) -> Graph:
    """Return the graph of a model, equal to it up to the rounding of float32.

    Constants are computed; dropouts and identities left out; products of a matrix and their biases become ``Gemm``
    without factors, with a weight of [outputs, inputs]; batch normalisations and added constants go into the weights
    and biases of the convolution or dense layer before them.

    Raises:
        ConfigurationError: the model is quantised already, has functions or branches, or no operator of ONNX.
    """
    graph = Graph(model)
    _check(graph)
    _compute_constants(graph)
    _leave_out(graph)
    graph.infer_types()
    graph.nodes = [_as_dense(graph, node) for node in graph.nodes]
    _absorb(graph)
    return graph


def _check(graph: Graph) -> None:
    problems = []
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx"):
            what = f"'{node.op_type}' of {node.domain}, which is none of ONNX' own operators; export a plain ONNX model"
            problems.append(f"node '{node.name}' is {what}")
        elif node.op_type in ("If", "Loop", "Scan"):
            problems.append(
                f"node '{node.name}' is '{node.op_type}'; networks with branches or loops cannot be rewritten"
            )
        elif node.op_type.endswith("QuantizeLinear"):
            what = f"node '{node.name}' ({node.op_type}) says that the model is quantised already"
            problems.append(f"{what}; convert the float model that it was made from")
    if problems:
        raise ConfigurationError(problems)


def _compute_constants(graph: Graph) -> None:
    """Evaluate nodes all of whose inputs are constants."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    kept = []
    for node in graph.nodes:
        inputs = [name for name in node.input if name]
        is_constant = node.op_type == "Constant" or (inputs and all(name in graph.constants for name in inputs))
        if not is_constant:
            kept.append(node)
            continue
        values = [helper.make_value_info(name, helper.make_tensor_type_proto(0, None)) for name in inputs]
        results = [helper.make_value_info(name, helper.make_tensor_type_proto(0, None)) for name in node.output]
        opset = [helper.make_opsetid("", graph.opset)]
        alone = helper.make_model(helper.make_graph([node], "constant", values, results), opset_imports=opset)
        computed = ReferenceEvaluator(alone).run(None, {name: graph.constants[name] for name in inputs})
        graph.constants |= dict(zip(node.output, map(np.asarray, computed), strict=True))
    graph.nodes = kept


def _leave_out(graph: Graph) -> None:
    """Leave out nodes that give what they take, unless they name an output of the model."""
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
        if node.op_type in ("Identity", "Dropout") and node.output[0] not in graph.outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    graph.nodes = kept


def _as_dense(graph: Graph, node: NodeProto) -> NodeProto:
    """Return a matrix product with a constant as a ``Gemm`` with weights [outputs, inputs], other nodes as they are."""
    weight = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    if weight is None or weight.ndim != 2:
        return node
    if node.op_type == "MatMul" and len(graph.shape(node.input[0]) or ()) == 2:
        return _dense(graph, node, weight.T, None)
    if node.op_type != "Gemm" or attribute(node, "transA", 0):
        return node
    weight = weight if attribute(node, "transB", 0) else weight.T
    weight = weight * weight.dtype.type(attribute(node, "alpha", 1.0))
    if len(node.input) < 3:
        return _dense(graph, node, weight, None)
    bias = graph.constants.get(node.input[2])
    if bias is None or bias.size not in (1, len(weight)):
        return node
    flat = np.broadcast_to(bias.reshape(-1), len(weight)) * bias.dtype.type(attribute(node, "beta", 1.0))
    return _dense(graph, node, weight, flat)


def _dense(graph: Graph, node: NodeProto, weight: NDArray[Any], bias: NDArray[Any] | None) -> NodeProto:
    from onnx import helper

    inputs = [node.input[0], graph.constant(f"{node.name}_weight", np.ascontiguousarray(weight))]
    if bias is not None:
        inputs.append(graph.constant(f"{node.name}_bias", bias))
    return helper.make_node("Gemm", inputs, node.output, node.name, transB=1)


def _absorb(graph: Graph) -> None:
    """Put batch normalisations and added constants into the layer before them."""
    producers, consumers = graph.producers(), graph.consumers()
    kept = []
    for node in graph.nodes:
        affine = _affine(graph, node)
        source = next((name for name in node.input if name not in graph.constants), "")
        layer = producers.get(source)
        can_absorb = (
            affine is not None
            and layer is not None
            and graph.only_consumer(source, consumers) is node
            and _scale_layer(graph, layer, *affine)
        )
        if can_absorb and layer is not None:
            layer.output[0] = node.output[0]
            producers[node.output[0]] = layer
        else:
            kept.append(node)
    graph.nodes = kept


def _affine(graph: Graph, node: NodeProto) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return scale and shift of a node that has them for each channel (of a scalar: one), or None for other nodes."""
    constants = [graph.constants[name] for name in node.input if name in graph.constants]
    if node.op_type == "BatchNormalization" and len(constants) == 4 and not attribute(node, "training_mode", 0):
        scale, shift, mean, variance = (values.astype(np.float64) for values in constants)
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return factor, shift - mean * factor
    if node.op_type == "Add" and len(constants) == 1:
        shape = graph.shape(node.output[0])
        added = _per_channel(constants[0], None if shape is None else len(shape))
        return None if added is None else (np.ones(1), added)
    return None


def _per_channel(values: NDArray[Any], rank: int | None) -> NDArray[Any] | None:
    """Return a constant that is added to a tensor as one value for each channel (axis 1); None if it is none."""
    if rank is None or rank < 2 or values.ndim > rank:
        return None
    full = values.reshape((1,) * (rank - values.ndim) + values.shape)
    if full.size != full.shape[1]:
        return None
    return full.reshape(-1).astype(np.float64)


def _scale_layer(graph: Graph, layer: NodeProto, scale: NDArray[Any], shift: NDArray[Any]) -> bool:
    """Multiply what a layer computes and add to it; False if it is none that can."""
    is_dense = layer.op_type == "Gemm" and attribute(layer, "transB", 0) and not attribute(layer, "transA", 0)
    if not (is_dense or layer.op_type == "Conv"):
        return False
    if not all(name in graph.constants for name in layer.input[1:]):
        return False
    weight = graph.constants[layer.input[1]]
    outputs = weight.shape[0]
    if scale.size not in (1, outputs) or shift.size not in (1, outputs) or math.prod(weight.shape) == 0:
        return False
    bias = graph.constants[layer.input[2]] if len(layer.input) > 2 else np.zeros(outputs)
    factors = np.broadcast_to(scale, (outputs,)).reshape(-1, *[1] * (weight.ndim - 1))
    scaled = (weight * factors).astype(weight.dtype)
    shifted = (bias * scale + shift).astype(weight.dtype)
    inputs = [layer.input[0], graph.constant(f"{layer.name}_weight", scaled)]
    inputs.append(graph.constant(f"{layer.name}_bias", shifted))
    del layer.input[:]
    layer.input.extend(inputs)
    return True
