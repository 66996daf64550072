"""Nodes that move values: reshaping, transposing, concatenating."""

from __future__ import annotations

from evtfw.external.emulator.network import Merge, Reshape, Transpose
from evtfw.external.emulator.reading.onnx_graph import Node
from evtfw.external.emulator.reading.reader import Reader, Unsupported


def same(reader: Reader, node: Node) -> None:
    """The values as they are."""
    if node.op == "Dropout" and len(node.inputs) > 2 and node.inputs[2] and bool(reader.constant(node, 2, "mode")):
        raise Unsupported("it is in training mode; export the model for inference (model.eval())")
    reader.same(node)


def cast(reader: Reader, node: Node) -> None:
    """Between kinds of floats."""
    from onnx import TensorProto

    if node.attributes["to"] not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16):
        raise Unsupported("a conversion to integers is not emulated")
    reader.same(node)


def reshape(reader: Reader, node: Node) -> None:
    """Flatten, Reshape, Squeeze or Unsqueeze: the same values in another shape."""
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    if shape == reader.row(source):
        reader.same(node)
    else:
        reader.add(Reshape(name=name, inputs=(source,), output=output, shape=shape))


def transpose(reader: Reader, node: Node) -> None:
    """Axes in another order; the batch's stays first."""
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    order = tuple(node.attributes.get("perm", range(len(shape), -1, -1)))
    if order[0] != 0:
        raise Unsupported(f"it moves the batch axis (perm={list(order)})")
    reader.add(
        Transpose(name=name, inputs=(source,), output=output, shape=shape, order=tuple(axis - 1 for axis in order[1:]))
    )


def concatenate(reader: Reader, node: Node) -> None:
    """Tensors one behind the other along an axis of a row."""
    name, output, shape = reader.place(node)
    axis = node.attributes["axis"] % (len(shape) + 1) - 1
    if axis < 0:
        raise Unsupported("it joins along the batch axis")
    inputs = tuple(reader.tensor(node, i) for i in range(len(node.inputs)))
    if len(inputs) == 1:
        reader.same(node)
    else:
        reader.add(Merge(name=name, inputs=inputs, output=output, shape=shape, operation="concatenate", axis=axis))
