"""What hls4ml may call the layers of a model: its names come from Keras, PyTorch or ONNX, those here from ONNX."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evtfw.external.emulator.network import (
    Activation,
    Conv,
    Dense,
    Layer,
    Merge,
    Pool,
    Reshape,
    Scale,
    Softmax,
    Transpose,
    UpSample,
)
from evtfw.external.emulator.reading.hls4ml_config import LayerNames
from evtfw.external.emulator.reading.onnx_graph import Node

# hls4ml's prefixes of layers that it makes of an ONNX node.
_PREFIXES = ("Dense_", "Conv1D_", "Conv2D_", "DepthwiseConv1D_", "DepthwiseConv2D_", "bn_")
_ONNX_KINDS = {"MatMul": "MatMul", "Conv": "Conv", **dict.fromkeys(("Add", "Sub", "Mul", "Div"), "Merge")}


def names_of(layer: Layer, sources: Mapping[str, Node]) -> LayerNames:
    """Return the names that a configuration may have for a layer.

    They are, in this order: the ONNX node's, with and without hls4ml's prefix; the name of the Keras or PyTorch layer
    as it stands in the node's path (``/fc1/Gemm``, ``model/fc1/MatMul``) or in the name of its weights
    (``fc1.weight``). An activation within a Keras layer is called ``fc1_relu``.

    Args:
        layer: which.
        sources: node that each layer was read from.
    """
    kind = kind_of(layer, sources)
    node = sources.get(layer.name)
    name = node.name if node else layer.name
    names = [name, *(f"{prefix}{name}" for prefix in _PREFIXES)]
    parts = _parts(name)
    weighted = [_parts(other.name)[:-1] for other in sources.values() if other.op in ("Gemm", "MatMul", "Conv")]
    for start in range(len(parts) - 1):
        path = "_".join(parts[len(parts) - 2 - start : -1])
        if isinstance(layer, Activation):
            names.append(f"{path}_{layer.function}")
        if not isinstance(layer, Activation) or parts[:-1] not in weighted:
            names.append(path)
        if isinstance(layer, Softmax):
            names += [f"{path}_softmax"]
    if node and isinstance(layer, (Dense, Conv)):
        weight = node.inputs[1].removesuffix(".weight")
        pieces = weight.split(".")
        names += ["_".join(pieces[i:]) for i in range(len(pieces))] if weight != node.inputs[1] else []
    return LayerNames(tuple(dict.fromkeys(names)), kind, _ONNX_KINDS.get(node.op, "") if node else "")


def _parts(name: str) -> list[str]:
    """Return the parts of a path."""
    return [part for part in re.split(r"[/:]", name) if part]


def kind_of(layer: Layer, sources: Mapping[str, Node]) -> str:
    """Return hls4ml's class of a layer."""
    node = sources.get(layer.name)
    if isinstance(layer, Dense):
        return "Dense" if len(layer.shape) == 1 else f"Conv{len(layer.shape) - 1}D"
    if isinstance(layer, Conv):
        return f"{'Depthwise' if layer.groups > 1 else ''}Conv{layer.weight.ndim - 2}D"
    if isinstance(layer, Scale):
        return "BatchNormalization" if node is None or node.op == "BatchNormalization" else "ApplyAlpha"
    if isinstance(layer, Activation):
        return "ParametrizedActivation" if layer.function in ("leaky_relu", "elu") else "Activation"
    if isinstance(layer, Pool):
        is_global = node is not None and node.op in ("GlobalMaxPool", "GlobalAveragePool", "ReduceMean", "ReduceMax")
        return f"{'Global' if is_global else ''}Pooling{len(layer.window)}D"
    if isinstance(layer, Merge):
        return "Concatenate" if layer.operation == "concatenate" else "Merge"
    kinds = {Softmax: "Softmax", Reshape: "Reshape", Transpose: "Transpose", UpSample: "Resize"}
    return kinds.get(type(layer), type(layer).__name__)
