"""Makes the tiny models beside it: ``python tests/external/data/make_models.py`` (needs the package ``onnx``)."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

FOLDER = Path(__file__).parent
FLOAT = TensorProto.FLOAT


def save(name: str, nodes: list, inputs: list, outputs: list, constants: list = ()) -> None:
    graph = helper.make_graph(nodes, name, inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="evtfw tests")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, FOLDER / f"{name}.onnx")


def tensor(name: str, shape: list, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name: str, value: float) -> onnx.TensorProto:
    return helper.make_tensor(name, FLOAT, [], [value])


# y = 2 x, and the sum over each row
save(
    "double",
    [
        helper.make_node("Mul", ["x", "two"], ["y"]),
        helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
    ],
    [tensor("x", ["n", 3])],
    [tensor("y", ["n", 3]), tensor("total", ["n"])],
    [constant("two", 2.0), helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
)
# NaN for negative values
save("root", [helper.make_node("Sqrt", ["x"], ["y"])], [tensor("x", ["n", 1])], [tensor("y", ["n", 1])])
# axis 0 is fixed: no batch
save("whole", [helper.make_node("Neg", ["x"], ["y"])], [tensor("x", [2, "k"])], [tensor("y", [2, "k"])])
# the second axis is free: only requests of the same width can share a batch
save(
    "ragged",
    [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=1)],
    [tensor("x", ["n", "k"])],
    [tensor("y", ["n", 1])],
)
