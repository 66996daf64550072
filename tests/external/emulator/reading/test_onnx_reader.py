"""Float models of every supported operation mean the same after reading."""

import pathlib

import numpy as np
import pytest

import evtfw.data
from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.reading.host import split
from evtfw.external.emulator.reading.onnx_reader import read
from tests.external.emulator.reading.float_network import compute
from tests.external.emulator.reading.models import Graph


def check(graph, *outputs, rows=5, kinds=None, **options):
    """The network computes what onnxruntime makes of the source; return the network."""
    import onnxruntime

    model = graph.model(*outputs)
    network = read(model, **options).network
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(3)
    if isinstance(graph.batch, int):
        rows = graph.batch
    given = {t.name: random.normal(size=(rows, *t.shape)).astype(t.dtype) for t in network.inputs}
    for name, wished in zip(outputs, session.run(list(outputs), given), strict=True):
        np.testing.assert_allclose(compute(network, **given)[name], wished, rtol=2e-4, atol=2e-5)
    if kinds is not None:
        assert [layer.kind for layer in network.layers] == kinds
    return network


# Dense layers


def test_gemm_with_all_its_options():
    g = Graph()
    x = g.input("x", 6)
    x = g.node("Gemm", x, g.weights(5, 6), g.weights(5), transB=1, alpha=0.5, beta=2.0)
    x = g.node("Gemm", x, g.weights(5, 4), g.weights(1, 4))
    x = g.node("Gemm", x, g.weights(4, 3), g.weights())
    x = g.node("Gemm", x, g.weights(3, 3))
    network = check(g, x, kinds=["dense"] * 4)
    assert network.layers[3].bias is None


@pytest.mark.parametrize("row", [(6,), (4, 6), (2, 4, 6)])
@pytest.mark.parametrize("is_left", [False, True])
def test_matmul_takes_in_the_bias_behind_it(row, is_left):
    g = Graph()
    x = g.node("MatMul", g.input("x", *row), g.weights(6, 3))
    bias = g.weights(3)
    check(g, g.node("Add", *((bias, x) if is_left else (x, bias))), kinds=["dense"])


def test_a_value_that_is_used_twice_keeps_its_bias_apart():
    g = Graph()
    x = g.node("MatMul", g.input("x", 6), g.weights(6, 3))
    check(g, x, g.node("Add", x, g.weights(3)), kinds=["dense", "scale"])


def test_batch_normalisation_is_folded_into_the_layer_before_it():
    g = Graph()
    x = g.node("Gemm", g.input("x", 6), g.weights(6, 5), g.weights(5))
    x = g.node("BatchNormalization", x, g.weights(5), g.weights(5), g.weights(5), g.constant([0.5, 1, 2, 3, 4]))
    x = g.node("Relu", x)
    x = g.node("Gemm", x, g.weights(5, 3))
    parameters = [g.weights(3), g.weights(3), g.weights(3), g.constant([1, 2, 3])]
    check(g, g.node("BatchNormalization", x, *parameters, epsilon=1e-3), kinds=["dense", "relu", "dense"])


def test_batch_normalisation_of_inputs_is_a_layer_of_its_own():
    g = Graph()
    x = g.input("x", 6)
    x = g.node("BatchNormalization", x, g.weights(6), g.weights(6), g.weights(6), g.constant(np.arange(1, 7)))
    check(g, g.node("Gemm", x, g.weights(6, 5)), kinds=["scale", "dense"])


def test_whoever_reads_may_forbid_folding():
    g = Graph()
    x = g.node("MatMul", g.input("x", 6), g.weights(6, 3))
    x = g.node("Add", x, g.weights(3))
    check(g, g.node("Mul", x, g.constant(2.0)), kinds=["dense", "scale", "scale"], rule=lambda _: lambda *_: False)
    check(g, "Mul_2_out", kinds=["dense", "scale"], rule=lambda _: lambda _, affine: affine.is_bias)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_with_constants(op):
    g = Graph()
    x = g.node("Relu", g.input("x", 3, 4, 4))
    x = g.node(op, x, g.constant([[[1.5]], [[2.0]], [[-3.0]]]))
    x = g.node("Relu", x)
    x = g.node(op, x, g.constant([1.5, 2.0, -3.0, 1.0]))
    x = g.node("Relu", x)
    x = g.node(op, x, g.constant(2.0))
    x = x if op == "Div" else g.node(op, g.constant(1.25), x)
    check(g, x)


# Convolutions and what comes with them


@pytest.mark.parametrize("axes", [1, 2])
def test_convolutions(axes):
    g = Graph()
    x = g.input("x", 3, *(9, 8)[:axes])
    x = g.node("Conv", x, g.weights(4, 3, *(3, 2)[:axes]), g.weights(4), strides=(2, 1)[:axes], pads=[1] * 2 * axes)
    x = g.node("Conv", x, g.weights(4, 1, *(3, 3)[:axes]), group=4, pads=[2] * 2 * axes, dilations=(2, 1)[:axes])
    x = g.node("Conv", x, g.weights(8, 1, *(2, 2)[:axes]), group=4)
    x = g.node("BatchNormalization", x, g.weights(8), g.weights(8), g.weights(8), g.constant(np.arange(1, 9)))
    d = f"{axes}d"
    check(g, g.node("Relu", x), kinds=[f"conv{d}", f"depthwise{d}", f"depthwise{d}", "relu"])


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_that_the_model_leaves_to_onnx(mode, stride):
    g = Graph()
    x = g.node("Conv", g.input("x", 2, 7, 8), g.weights(3, 2, 3, 4), auto_pad=mode, strides=[stride, stride])
    check(g, g.node("MaxPool", x, auto_pad=mode, kernel_shape=[2, 2], strides=[2, 2]))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("axes", [1, 2])
def test_pools(op, axes):
    g = Graph()
    x = g.input("x", 3, *(9, 8)[:axes])
    first = g.node(op, x, kernel_shape=(3, 2)[:axes], strides=(2, 2)[:axes], pads=[1] * 2 * axes)
    more = {"count_include_pad": 1} if op == "AveragePool" else {"ceil_mode": 1, "strides": (2, 3)[:axes]}
    second = g.node(op, x, kernel_shape=(2, 3)[:axes], **more)
    check(g, first, second)


@pytest.mark.parametrize("keep", [0, 1])
def test_pools_over_everything(keep):
    g = Graph(opset=18)
    x = g.input("x", 3, 5, 4)
    results = [g.node("GlobalMaxPool", x), g.node("GlobalAveragePool", x)]
    results += [g.node(op, x, g.whole(2, -1), keepdims=keep) for op in ("ReduceMean", "ReduceMax")]
    results += [g.node("ReduceMean", x, g.whole(1, 2), keepdims=0)]  # channels last
    check(g, *results)


def test_axes_of_reductions_as_attributes():
    g = Graph(opset=13)
    check(g, g.node("ReduceMean", g.input("x", 3, 5, 4), axes=[2, 3], keepdims=0))


def test_transpositions_around_channels_last_layers_vanish():
    """As tf2onnx writes a Keras model: each layer between transpositions, biases along the last axis."""
    g = Graph()
    x = g.input("x", 6, 6, 2)
    for channels, before in ((4, 2), (3, 4)):
        x = g.node("Transpose", x, perm=[0, 3, 1, 2])
        x = g.node("Conv", x, g.weights(channels, before, 3, 3))
        x = g.node("Transpose", x, perm=[0, 2, 3, 1])
        x = g.node("Add", x, g.weights(channels))
        x = g.node("Mul", x, g.weights(1, 1, 1, channels))
    x = g.node("Reshape", x, g.whole(-1, 12))
    network = check(g, x, kinds=["transpose", "conv2d", "conv2d", "transpose", "reshape"])
    assert network.inputs[0].shape == (6, 6, 2)


@pytest.mark.parametrize("op", ["Resize", "Upsample"])
def test_up_sampling(op):
    g = Graph(opset=9) if op == "Upsample" else Graph(opset=13, batch=1)
    x = g.input("x", 2, 3, 4)
    scales = g.constant([1, 1, 2, 3])
    if op == "Upsample":
        x = g.node(op, x, scales, mode="nearest")
    else:
        rule = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        x = g.node(op, x, "", scales, **rule)
        x = g.node(op, x, "", "", g.whole(1, 2, 12, 24))  # the other rule, by sizes
    check(g, x)


# Other operations


def test_functions_of_each_value():
    g = Graph()
    x = g.input("x", 6)
    ops = {"Relu": {}, "LeakyRelu": {"alpha": 0.3}, "Elu": {"alpha": 0.7}, "Sigmoid": {}, "Tanh": {}, "Softmax": {}}
    results = [g.node(op, x, **attributes) for op, attributes in ops.items()]
    results += [g.node("Clip", x, g.constant(0.0), g.constant(1.5)), g.node("Clip", x, g.constant(0.0))]
    network = check(g, *results)
    kinds = ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "softmax", "clipped_relu", "relu"]
    assert [layer.kind for layer in network.layers] == kinds
    assert network.layers[1].alpha == 0.3


def test_merging_two_branches():
    g = Graph()
    x, y = g.input("x", 4), g.input("y", 4)
    a, b = g.node("Gemm", x, g.weights(4, 3)), g.node("Gemm", y, g.weights(4, 3))
    merged = [g.node(op, a, b) for op in ("Add", "Sub", "Mul")]
    check(g, g.node("Concat", *merged, x, axis=-1))


def test_reshaping_and_what_does_nothing():
    g = Graph()
    x = g.input("x", 2, 3, 4)
    x = g.node("Dropout", g.node("Identity", x))
    x = g.node("Transpose", x, perm=[0, 2, 1, 3])
    x = g.node("Unsqueeze", x, g.whole(1))
    x = g.node("Squeeze", x, g.whole(1))
    x = g.node("Cast", x, to=1)
    x = g.node("Flatten", x)
    x = g.node("Reshape", x, g.whole(0, 4, -1))
    check(g, x, kinds=["transpose", "reshape", "reshape", "reshape", "reshape"])


def test_shapes_that_are_computed_from_the_batch_size():
    """As PyTorch writes ``x.view(x.size(0), -1)``."""
    g = Graph()
    x = g.input("x", 2, 3)
    size = g.node("Unsqueeze", g.node("Gather", g.node("Shape", x), g.constant(0, dtype=np.int64)), g.whole(0))
    shape = g.node("Concat", size, g.whole(-1), axis=0)
    check(g, g.node("Gemm", g.node("Reshape", x, shape), g.weights(6, 2)), kinds=["reshape", "dense"])


def test_weights_that_are_computed_from_constants():
    g = Graph()
    weight = g.node("Transpose", g.node("Mul", g.weights(3, 6), g.constant(0.5)), perm=[1, 0])
    check(g, g.node("MatMul", g.input("x", 6), weight), kinds=["dense"])


def test_an_output_that_is_also_used_within():
    g = Graph()
    x = g.node("Relu", g.input("x", 6))
    check(g, x, g.node("Identity", x), g.node("Gemm", x, g.weights(6, 2)))


def test_a_fixed_batch():
    g = Graph(batch=2)
    check(g, g.node("Flatten", g.input("x", 2, 3)))


# Refusals


def problems_of(graph, *outputs):
    with pytest.raises(ConfigurationError) as caught:
        read(graph.model(*outputs))
    return caught.value.problems


def test_all_unsupported_nodes_are_named_at_once():
    g = Graph()
    x = g.node("Erf", g.input("x", 6), name="gelu/Erf")
    x = g.node("Gemm", x, g.weights(6, 4))
    x = g.node("Clip", x, g.constant(-1.0), g.constant(1.0), name="hard")
    first, second = problems_of(g, g.node("Sigmoid", x))
    assert "node 'gelu/Erf' (Erf)" in first
    assert "did you mean 'Elu'" in first or "on the host" in first
    assert "node 'hard' (Clip)" in second
    assert "lower bound of 0" in second


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda g, x: g.node("Gemm", x, g.weights(6, 6), transA=1), "mixes the rows"),
        (lambda g, x: g.node("MatMul", x, g.input("y", 6, 6)), "not constant"),
        (lambda g, x: g.node("Add", x, g.weights(3, 1, 6)), "rows of a batch"),
        (lambda g, x: g.node("Softmax", x, axis=0), "axis 0"),
        (lambda g, x: g.node("Div", x, x), "division of two tensors"),
        (lambda g, x: g.node("Reshape", x, g.whole(3, -1)), "rows of a batch"),
        (lambda g, x: g.node("Concat", x, x, axis=0), "rows of a batch"),
        (lambda g, x: g.node("Cast", x, to=7), "integers"),
        (lambda g, x: g.node("Transpose", x, perm=[1, 0]), "batch"),
    ],
)
def test_what_cannot_be_read_is_told(build, words):
    g = Graph()
    assert words in problems_of(g, build(g, g.input("x", 6)))[0]


def test_free_axes_other_than_the_batch_are_refused():
    g = Graph()
    x = g.input("x", "width")
    assert "axis 1 of input 'x' is free" in problems_of(g, g.node("Relu", x))[0]


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ConfigurationError, match="no ONNX model"):
        read(tmp_path / "text.onnx")


# Models as they come


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", ["images", "series"])
def test_what_pytorch_exports(name, exporter):
    """Made by ``data/make_pytorch.py``."""
    import onnxruntime

    path = pathlib.Path(__file__).parents[1] / "data" / f"pytorch_{name}_{exporter}.onnx"
    network = read(path).network
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(3).normal(size=(7, *network.inputs[0].shape)).astype(np.float32)
    found = compute(network, x=rows)
    for output, wished in zip(session.get_outputs(), session.run(None, {"x": rows}), strict=True):
        np.testing.assert_allclose(found[output.name], wished, rtol=1e-4, atol=1e-5)
    assert "scale" not in [layer.kind for layer in network.layers]


def test_the_shipped_image_network_is_read_behind_its_logarithm():
    import onnx

    parts = split(onnx.load(evtfw.data.path("toptag.onnx")))
    assert [node.op_type for node in parts.host.graph.node] == ["Reshape", "Mul", "Add", "Log", "Mul"]
    network = read(parts.device).network
    assert [layer.kind for layer in network.layers].count("conv2d") == 7
    assert [tensor.shape for tensor in network.inputs] == [(1, 64, 64)]
