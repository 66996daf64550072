"""Nodes with weights: products, convolutions, normalisations, and arithmetic with constants."""

from __future__ import annotations

import numpy as np

from evtfw.external.emulator.network import Conv, Dense, Floats, Merge, Shape
from evtfw.external.emulator.reading.onnx_graph import Node
from evtfw.external.emulator.reading.reader import Affine, Reader, Unsupported, floats


def gemm(reader: Reader, node: Node) -> None:
    """``alpha * A @ B + beta * C`` with constant B and C."""
    if node.attributes.get("transA", 0):
        raise Unsupported("transA=1 mixes the rows of a batch")
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    weight = floats(reader.constant(node, 1, "weight"))
    weight = np.ascontiguousarray(weight.T) if node.attributes.get("transB", 0) else weight
    bias = reader.optional(node, 2, "bias")
    if bias is not None:
        bias = np.array(np.broadcast_to(np.squeeze(floats(bias)), weight.shape[1:])) * node.attributes.get("beta", 1.0)
    weight = weight * node.attributes.get("alpha", 1.0)
    _remember(reader, name, node)
    reader.add(Dense(name=name, inputs=(source,), output=output, shape=shape, weight=weight, bias=bias))


def matmul(reader: Reader, node: Node) -> None:
    """``A @ B`` with constant B."""
    if reader.is_constant(node.inputs[0]):
        raise Unsupported("its first factor is constant; emulated is x @ weight: transpose the model there")
    weight = floats(reader.constant(node, 1, "second factor"))
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    weight = weight.reshape(weight.shape[-2:]) if weight.ndim > 2 and set(weight.shape[:-2]) == {1} else weight
    if weight.ndim != 2:
        raise Unsupported(f"its weight has shape {weight.shape}; one matrix [inputs, outputs] is emulated")
    _remember(reader, name, node)
    reader.add(Dense(name=name, inputs=(source,), output=output, shape=shape, weight=weight))


def convolution(reader: Reader, node: Node) -> None:
    """Convolution over one or two axes; groups: 1 or as many as channels."""
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    weight = floats(reader.constant(node, 1, "weight"))
    bias = reader.optional(node, 2, "bias")
    axes = weight.ndim - 2
    if axes not in (1, 2):
        raise Unsupported(f"it convolves over {axes} axes; one or two are emulated")
    groups = node.attributes.get("group", 1)
    channels = reader.row(source)[0]
    if groups not in (1, channels):
        raise Unsupported(f"it has {groups} groups for {channels} channels; 1 or {channels} (depthwise) are emulated")
    strides = tuple(node.attributes.get("strides", (1,) * axes))
    dilations = tuple(node.attributes.get("dilations", (1,) * axes))
    pads = pads_of(node, reader.row(source)[1:], weight.shape[2:], strides, dilations)
    _remember(reader, name, node)
    reader.add(
        Conv(
            name=name,
            inputs=(source,),
            output=output,
            shape=shape,
            weight=weight,
            bias=None if bias is None else floats(bias),
            strides=strides,
            pads=pads,
            dilations=dilations,
            groups=groups,
        )
    )


def _remember(reader: Reader, name: str, node: Node) -> None:
    """Keep the formats of a layer's weight and bias if the source quantises them."""
    if weight := reader.format_of(node.inputs[1]):
        reader.weight_formats[name] = weight
    if len(node.inputs) > 2 and (bias := reader.format_of(node.inputs[2])):
        reader.bias_formats[name] = bias


def pads_of(node: Node, size: Shape, kernel: Shape, strides: Shape, dilations: Shape) -> Shape:
    """Return the padding of a convolution or pool: before each axis, then after each.

    Args:
        size: of the input's axes that the kernel moves along.
    """
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return tuple(node.attributes.get("pads", (0,) * (2 * len(kernel))))
    if mode == "VALID":
        return (0,) * (2 * len(kernel))
    before, after = [], []
    for length, width, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        needed = max((-(-length // stride) - 1) * stride + (width - 1) * dilation + 1 - length, 0)
        less, more = needed // 2, needed - needed // 2
        before.append(less if mode == "SAME_UPPER" else more)
        after.append(more if mode == "SAME_UPPER" else less)
    return (*before, *after)


def batch_normalisation(reader: Reader, node: Node) -> None:
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` for each channel."""
    if node.attributes.get("training_mode", 0):
        raise Unsupported("it is in training mode; export the model for inference (model.eval())")
    name, output, shape = reader.place(node)
    what = ("scale", "shift", "mean", "variance")
    gamma, beta, mean, variance = (floats(reader.constant(node, i + 1, what[i])) for i in range(4))
    # ONNX' default is 1e-5 as a float32.
    scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", float(np.float32(1e-5))))
    reader.add(
        Affine(
            name=name,
            inputs=(reader.tensor(node),),
            output=output,
            shape=shape,
            scale=scale,
            shift=beta - mean * scale,
            axis=0,
        )
    )


def arithmetic(reader: Reader, node: Node) -> None:
    """Add, Sub, Mul or Div, of two tensors or of one and a constant."""
    constant = [reader.is_constant(name) for name in node.inputs]
    if not any(constant):
        _merge(reader, node)
        return
    position = constant.index(True)
    values = floats(reader.constant(node, position, "constant"))
    source = reader.tensor(node, 1 - position)
    name, output, shape = reader.place(node)
    if shape != reader.row(source):
        raise Unsupported(f"its constant {values.shape} makes rows of {reader.row(source)} larger, {shape}")
    axis, channels = _channels(values, shape)
    scale, shift = _affine(node.op, channels, is_left=position == 0)
    if node.op == "Add" and (format_ := reader.format_of(node.inputs[position])):
        reader.bias_formats[name] = format_
    reader.add(
        Affine(
            name=name,
            inputs=(source,),
            output=output,
            shape=shape,
            scale=scale,
            shift=shift,
            axis=axis,
            is_bias=node.op == "Add",
        )
    )


def _merge(reader: Reader, node: Node) -> None:
    operations = {"Add": "add", "Sub": "subtract", "Mul": "multiply"}
    if node.op not in operations:
        raise Unsupported("a division of two tensors is not emulated; multiply by a constant instead")
    name, output, shape = reader.place(node)
    inputs = (reader.tensor(node, 0), reader.tensor(node, 1))
    if len({reader.row(tensor) for tensor in inputs}) > 1:
        raise Unsupported(
            f"its inputs have rows of {' and '.join(str(reader.row(t)) for t in inputs)}; they must be alike"
        )
    operation = operations[node.op]
    reader.add(Merge(name=name, inputs=inputs, output=output, shape=shape, operation=operation))  # type: ignore[arg-type]


def _channels(values: Floats, shape: Shape) -> tuple[int, Floats]:
    """Return the axis of a row along which a constant varies, and its values along it."""
    aligned = (1,) * (len(shape) + 1 - values.ndim) + values.shape
    if aligned[0] != 1:
        raise Unsupported("its constant differs from row to row of a batch")
    varying = [axis for axis, length in enumerate(aligned[1:]) if length > 1]
    if len(varying) > 1:
        raise Unsupported(f"its constant {values.shape} varies along several axes; one for each channel is emulated")
    axis = varying[0] if varying else 0
    return axis, np.array(np.broadcast_to(values.reshape(-1), shape[axis : axis + 1]))


def _affine(op: str, values: Floats, *, is_left: bool) -> tuple[Floats, Floats]:
    """Return scale and shift of an operation with constants, which may be its left operand."""
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    if op == "Add":
        return ones, values
    if op == "Mul":
        return values, zeros
    if op == "Sub":
        return (-ones, values) if is_left else (ones, -values)
    if is_left:
        raise Unsupported("a constant divided by a tensor is not emulated")
    return 1 / values, zeros
