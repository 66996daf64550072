"""Small networks, and files of converted ones."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from evtfw.external.emulator.card import LayerCard, ModelCard, SourceCard
from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.fpgas import find_fpga
from evtfw.external.emulator.cost.model_file import EmulatedModel


def make_model(layers, weights=None, **fields):
    """A converted model with these layers; those of a network are ap_fixed<16,6>."""
    card = ModelCard(
        name="model",
        sha256="",
        arithmetic="ap_fixed",
        format="ap_fixed<16,6>",
        source=SourceCard(file="model.onnx", kind="onnx", sha256=""),
        layers=tuple(LayerCard(**layer) for layer in layers),
        **fields,
    )
    return EmulatedModel(card, weights or {}, 16, 4)


def dense(name, weight, **fields):
    """The card of a dense layer and its weights."""
    inputs, outputs = weight.shape
    card = {
        "name": name,
        "kind": "dense",
        "input_shape": (inputs,),
        "output_shape": (outputs,),
        "multiplications": weight.size,
        "parameters": weight.size,
        "weights": name,
        "input_format": "ap_fixed<16,6>",
        "weight_format": "ap_fixed<16,6>",
    }
    return make_model([{**card, **fields}], {name: weight})


def write_converted(model, file):
    """Write a model as `convert` does; the graph is a stand-in that has the weights."""
    rows, scores = model.input_bytes // 4, model.output_bytes // 4
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "stand_in",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", scores])],
        [numpy_helper.from_array(weight, name) for name, weight in model.weights.items()],
    )
    onnx.save(helper.make_model(graph), str(file))
    model.card.write(file)
    return file


def write_network(file, widths=(4, 6, 3), seed=1):
    """Write a network in floating point: dense layers with ReLU between, softmax at the end."""
    rng = np.random.default_rng(seed)
    nodes, weights, tensor = [], [], "x"
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        weights.append((f"w{number}", rng.normal(0, 1 / np.sqrt(inputs), (inputs, outputs))))
        weights.append((f"b{number}", rng.normal(0, 0.1, outputs)))
        nodes.append(
            helper.make_node("Gemm", [tensor, f"w{number}", f"b{number}"], [f"d{number}"], name=f"dense{number}")
        )
        is_last = number == len(widths) - 2
        tensor = "scores" if is_last else f"r{number}"
        kind, more = ("Softmax", {"axis": -1}) if is_last else ("Relu", {})
        nodes.append(helper.make_node(kind, [f"d{number}"], [tensor], name=kind.lower() + str(number), **more))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", widths[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", widths[-1]])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    return file


@pytest.fixture
def vu9p():
    """A design with hls4ml's defaults."""
    return Design(find_fpga("vu9p"))
