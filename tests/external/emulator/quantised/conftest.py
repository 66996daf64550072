"""Networks that many tests rewrite."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.resnet50 import SMALL, ResNet, images, resnet
from evtfw.external.emulator.quantised import rewrite
from evtfw.external.onnx_model import sums_of_bytes_are_exact

FLOAT = TensorProto.FLOAT


def model_of(nodes, constants, inputs, outputs, opset=18):
    """A model of nodes; inputs by name with their shapes, outputs by name."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, FLOAT, ["n", *shape]) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def with_outputs(model, *names):
    """The same model with more outputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    return made


def run(model, inputs, *, fused=True):
    """Outputs by name; with ``fused=False`` of float operators, one by one as the graph has them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not sums_of_bytes_are_exact():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.fixture(scope="session")
def small():
    """A small residual network with its logits and features as outputs, and rows for it."""
    return with_outputs(resnet(SMALL), "logits", "features"), {"image": images(64, side=SMALL.side, seed=3)}


@pytest.fixture(scope="session")
def resnet50():
    """ResNet-50 with the paper's head, its logits and features as outputs, and two rows."""
    return with_outputs(resnet(ResNet()), "logits", "features", "stage1_block3_out"), {"image": images(2, seed=4)}


@pytest.fixture(scope="session")
def small_fixed8(small):
    return rewrite(small[0], "fixed8", small[1])


class Zoo:
    """One branch for each kind of layer and connection: grouped, depthwise and clipped convolutions, odd means, …"""

    def __init__(self):
        self.rng = np.random.default_rng(11)
        self.nodes, self.constants = [], {}

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def weight(self, name, *shape):
        self.constants[name] = self.rng.normal(0, 0.4, shape).astype(np.float32)
        return name

    def conv(self, x, name, outputs, inputs, kernel=1, **attributes):
        weights = [self.weight(f"{name}_w", outputs, inputs, kernel, kernel), self.weight(f"{name}_b", outputs)]
        pads = [(kernel - 1) // 2] * 4
        return self.node("Conv", [x, *weights], name, pads=pads, strides=[1, 1], **attributes)

    def model(self):
        x = self.node("Relu", [self.conv("x", "first", 12, 5, kernel=3)], "first_relu")
        self.constants |= {"zero": np.float32(0), "six": np.float32(3)}
        clipped = self.node("Clip", [self.conv(x, "depthwise", 12, 1, 3, group=12), "zero", "six"], "clipped")
        grouped = self.node("LeakyRelu", [self.conv(clipped, "grouped", 20, 3, group=4)], "leaky", alpha=0.25)
        both = self.node("Concat", [grouped, clipped], "both", axis=1)
        means = self.node("AveragePool", [both], "means", kernel_shape=[5, 3], strides=[2, 2])
        last = self.conv(means, "last", 18, 32)
        mean = self.node("Flatten", [self.node("GlobalAveragePool", [last], "mean")], "flat")
        dense = [self.weight("dense_w", 18, 9), self.weight("dense_b", 9)]
        hidden = self.node("Relu", [self.node("Gemm", [mean, *dense], "dense")], "dense_relu")
        self.node("Gemm", [hidden, self.weight("score_w", 3, 9)], "scores", transB=1)
        # 41 x 3 positions after AveragePool: a number whose reciprocal float32 rounds to the wrong side
        return model_of(self.nodes, self.constants, {"x": (5, 85, 7)}, ["scores", "mean", "last", "clipped"])


@pytest.fixture(scope="session")
def zoo():
    rows = np.random.default_rng(12).normal(0, 1, (24, 5, 85, 7)).astype(np.float32)
    return Zoo().model(), {"x": rows}
