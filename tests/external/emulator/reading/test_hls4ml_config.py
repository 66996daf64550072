"""Formats per layer are those that hls4ml gives its own layers under the same configuration."""

import contextlib
import io
import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.conversion import convert
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Activation, Conv, Dense, Scale, Softmax
from evtfw.external.emulator.reading import inference
from evtfw.external.emulator.reading.hls4ml_config import Hls4mlConfiguration
from evtfw.external.emulator.reading.hls4ml_formats import folding_rule, resolve
from evtfw.external.emulator.reading.onnx_reader import read
from evtfw.external.emulator.reading.reuse import closest_reuse_factor
from tests.external.emulator.reading.models import Graph

BACKEND = "Vitis"
CLEAR = {"Model": {"Precision": {"default": "fixed<16,6>"}, "ReuseFactor": 1, "Strategy": "Latency"}}


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def mlp():
    """As hls4ml's ONNX front end wants it: MatMul and Add in nodes of their own."""
    g = Graph(batch=1)
    x = g.input("x", 8)
    x = g.node("Add", g.node("MatMul", x, g.weights(8, 6), name="fc1"), g.weights(6), name="bias1")
    parameters = [g.constant(g.random.uniform(0.5, 2, 6)), g.weights(6), g.weights(6), g.constant(np.ones(6))]
    x = g.node("BatchNormalization", x, *parameters, name="norm")
    x = g.node("Relu", x, name="act1")
    x = g.node("MatMul", x, g.weights(6, 4), name="fc2")
    x = g.node("LeakyRelu", x, alpha=0.3, name="act2")
    x = g.node("Add", g.node("MatMul", x, g.weights(4, 3), name="fc3"), g.weights(3), name="bias3")
    y = g.node("Sigmoid", x, name="act3")
    return g, [g.node("Softmax", g.node("Add", x, y, name="sum"), axis=-1, name="soft", output="y")]


def cnn():
    g = Graph(batch=1)
    x = g.input("x", 2, 8, 8)
    conv = {"strides": [1, 1], "dilations": [1, 1], "group": 1}
    x = g.node("Conv", x, g.weights(4, 2, 3, 3), g.weights(4), name="conv1", pads=[1] * 4, kernel_shape=[3, 3], **conv)
    x = g.node("Relu", x, name="act1")
    x = g.node("MaxPool", x, name="pool1", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
    x = g.node("Conv", x, g.weights(3, 4, 3, 3), name="conv2", pads=[0] * 4, kernel_shape=[3, 3], **conv)
    x = g.node("Relu", x, name="act2")
    x = g.node("MaxPool", x, name="pool2", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
    x = g.node("Reshape", x, g.whole(1, 3), name="flat")
    x = g.node("MatMul", x, g.weights(3, 2), name="fc")
    return g, [g.node("Softmax", x, axis=-1, name="soft", output="y")]


def cleaned(graph, outputs, tmp_path):
    """The model as qonnx prepares it for hls4ml; also a file."""
    import onnx
    import qonnx.util.cleanup
    import qonnx.util.to_channels_last

    model = graph.model(*outputs)
    for value in model.graph.output:
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, 1, [1, 3 if len(graph.constants) > 8 else 2]))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with quiet():
        qonnx.util.cleanup.cleanup(str(path), out_file=str(path))
        if any(node.op_type == "Conv" for node in model.graph.node):
            qonnx.util.to_channels_last.to_channels_last(str(path), make_input_channels_last=True, out_file=str(path))
            qonnx.util.cleanup.cleanup(str(path), out_file=str(path))
    return path


def converted(path, config, tmp_path):
    """hls4ml's own graph."""
    import hls4ml

    with quiet():
        return hls4ml.converters.convert_from_onnx_model(
            str(path), output_dir=str(tmp_path / "project"), backend=BACKEND, hls_config=json.loads(json.dumps(config)),
            io_type="io_parallel",
        )  # fmt: skip


def names_in(model):
    import onnx

    return [node.name for node in onnx.load(model).graph.node]


def text(precision):
    return str(FixedPoint.parse(str(precision)))


def of_hls4ml(model):
    """Formats by name of the layer, as hls4ml resolved them."""
    found = {}
    for node in model.get_layers():
        types = {name.removesuffix("_t"): text(t.precision) for name, t in node.types.items() if name != "index_t"}
        types["result"] = text(node.get_output_variable().type.precision)
        for prefix in ("Dense_", "Conv2D_", "Conv1D_", "bn_"):
            node_name = node.name.removeprefix(prefix)
            if node_name != node.name:
                break
        found[node_name] = types | {"node": node}
    return found


def of_ours(path, config):
    configuration = Hls4mlConfiguration(config)
    model = read(path, lambda sources: folding_rule(configuration, sources))
    return model, resolve(model, configuration)


def compare(path, config, tmp_path):
    """All layers that both have; return how many formats were compared."""
    theirs = of_hls4ml(converted(path, config, tmp_path))
    model, resolved = of_ours(path, {"HLSConfig": config, "OnnxModel": "model.onnx"})
    layers = {layer.name: layer for layer in model.network.layers}
    compared = 0
    for name, formats in resolved.formats.items():
        layer = layers.get(name)
        wished = {"result": formats.result}
        if isinstance(layer, (Dense, Conv)):
            wished |= {"weight": formats.weight, "bias": formats.bias, "accum": formats.accumulator}
        elif isinstance(layer, Scale):
            wished |= {"scale": formats.weight, "bias": formats.bias}
        elif isinstance(layer, Activation):
            wished |= {"param": formats.parameter} if formats.parameter else {}
            wished |= {"table": formats.table} if formats.table else {}
        elif isinstance(layer, Softmax):
            soft = formats.softmax
            wished |= {"accum": soft.accumulator, "exp_table": soft.exponential, "inv_table": soft.inverse}
            wished |= {"inv_inp": soft.inverse_input}
            assert int(theirs[name]["node"].get_attr("table_size")) == soft.inverse_size
            assert theirs[name]["node"].get_attr("implementation") == soft.strategy
        if layer is not None and name not in theirs and layer.kind in ("transpose", "reshape"):
            continue
        for variable, format_ in wished.items():
            assert str(format_) == theirs[name][variable], f"{name}: {variable}"
            compared += 1
    weights = {n for n, layer in layers.items() if isinstance(layer, (Dense, Conv))}
    for name in weights:
        node = theirs[name]["node"]
        assert node.get_attr("reuse_factor") == resolved.implementations[name].reuse_factor
        assert node.get_attr("strategy") == resolved.implementations[name].strategy
        mine = layers[name].bias
        wished = np.broadcast_to(node.weights["bias"].data_unquantized, layers[name].shape[:1])
        np.testing.assert_allclose(np.zeros(wished.shape) if mine is None else mine, wished, rtol=1e-5)
    return compared


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("granularity", ["model", "type", "name"])
def test_configurations_that_hls4ml_makes(make, granularity, tmp_path):
    import hls4ml

    path = cleaned(*make(), tmp_path)
    with quiet():
        import onnx

        config = hls4ml.utils.config_from_onnx_model(onnx.load(path), granularity=granularity, backend=BACKEND)
    assert compare(path, config, tmp_path) > 15


def test_formats_by_name_with_limits_and_resources(tmp_path):
    path = cleaned(*mlp(), tmp_path)
    dense = [name for name in names_in(path) if name.startswith("MatMul")]
    config = {
        "Model": {
            "Precision": {"default": "ap_fixed<14,5,AP_RND,AP_SAT>", "maximum": "fixed<20,9>"},
            "ReuseFactor": 5,
            "Strategy": "Resource",
        },
        "LayerName": {
            dense[0]: {"Precision": {"weight": "ap_fixed<7,2>", "result": "auto", "accum": "auto"}, "ReuseFactor": 3},
            dense[1]: {"Precision": {"weight": "ap_ufixed<7,2>", "bias": "int<4>", "result": "auto"}},
            dense[2]: {"Precision": "auto", "Strategy": "Latency"},
            "Softmax_0": {"Precision": {"accum": "fixed<19,9>"}, "exp_table_t": "fixed<17,7>", "TableSize": 512},
            "LeakyRelu_0": {"Precision": {"param": "auto", "result": "fixed<9,3>"}},
            "Sigmoid_0": {"table_t": "fixed<11,2>", "TableSize": 128},
        },
        "LayerType": {"Activation": {"Precision": {"result": "fixed<12,4>"}}},
    }
    assert compare(path, config, tmp_path) > 15


def test_names_of_keras_and_pytorch_layers():
    g = Graph()
    x = g.node("Gemm", g.input("x", 4), g.weights(4, 3), name="/body/body.0/Gemm")
    x = g.node("Relu", x, name="/act/Relu")
    x = g.node("Add", g.node("MatMul", x, g.weights(3, 3), name="model/fc1/MatMul"), g.weights(3), name="model/fc1/Add")
    x = g.node("Relu", x, name="model/fc1/Relu")
    x = g.node("Gemm", x, g.weights(3, 2, name="net.fc2.weight"), g.weights(2), name="node_linear_3")
    precisions = {"body_0": "10,3", "act": "11,3", "fc1": "12,3", "fc1_relu": "13,3", "net_fc2": "14,3", "x": "15,3"}
    config = CLEAR | {"LayerName": {name: {"Precision": f"fixed<{p}>"} for name, p in precisions.items()}}
    model, resolved = of_ours(g.model(x), config)
    widths = [resolved.formats[layer.name].result.width for layer in model.network.layers]
    assert widths == [10, 11, 12, 13, 14]
    assert resolved.formats["x"].result.width == 15
    assert len(model.network.layers) == 5  # the bias is Keras' own


def test_what_hls4ml_does_not_heed_is_noted():
    g = Graph()
    x = g.node("Sigmoid", g.input("x", 4), name="act")
    config = CLEAR | {"LayerName": {"act": {"Precision": {"result": "fixed<8,2>", "table": "fixed<8,2>"}}}}
    _, resolved = of_ours(g.model(x), config)
    assert resolved.formats["act"].table == FixedPoint(18, 8)
    assert "table_t" in resolved.notes[0]


def test_unknown_layers_are_refused():
    g = Graph()
    x = g.node("Gemm", g.input("x", 4), g.weights(4, 3), name="fc1")
    config = CLEAR | {"LayerName": {"fc_1": {"Precision": "fixed<8,2>"}}}
    with pytest.raises(ConfigurationError, match="'fc_1' is no layer of the model; did you mean 'fc1'"):
        of_ours(g.model(x), config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "no Model with a Precision"),
        ({"Model": {"ReuseFactor": 1}}, "no Model with a Precision"),
        ({"Model": {"Precision": "auto"}}, "must be a format"),
        (CLEAR | {"LayerName": {"fc1": {"Precision": {"weight": "fixed<8>"}}}}, "precision of 'fc1'"),
        (CLEAR | {"LayerName": {"fc1": {"ReuseFactor": 0}}}, "ReuseFactor of 'fc1' is 0"),
    ],
)
def test_broken_configurations(config, words):
    g = Graph()
    x = g.node("Gemm", g.input("x", 4), g.weights(4, 3), name="fc1")
    with pytest.raises(ConfigurationError, match=words):
        of_ours(g.model(x), config)


def test_files(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(CLEAR))
    (tmp_path / "c.yml").write_text(
        "KerasModel: !keras_model 'x.keras'\nHLSConfig:\n  Model:\n    Precision: fixed<9,3>\n"
    )
    assert Hls4mlConfiguration.read(tmp_path / "c.json").default == FixedPoint(16, 6)
    assert Hls4mlConfiguration.read(tmp_path / "c.yml").default == FixedPoint(9, 3)
    (tmp_path / "list.yml").write_text("- 1\n")
    (tmp_path / "bad.yml").write_text("a: [\n")
    for name, words in {"missing": "cannot be read", "list.yml": "no dictionary", "bad.yml": "neither"}.items():
        with pytest.raises(ConfigurationError, match=words):
            Hls4mlConfiguration.read(tmp_path / name)


@given(inputs=st.integers(1, 40), outputs=st.integers(1, 20), asked=st.integers(1, 900))
def test_reuse_factors_are_hls4mls(inputs, outputs, asked):
    from hls4ml.backends import get_backend

    backend = get_backend(BACKEND)
    valid = backend.get_valid_reuse_factors(inputs, outputs)
    wished = asked if asked in valid else backend.get_closest_reuse_factor(valid, asked)
    assert closest_reuse_factor(inputs, outputs, asked) == wished


@settings(max_examples=300)
@given(st.floats(-100, 100, width=32).map(lambda value: round(value * 2**24) / 2**24))
def test_formats_of_single_parameters_are_hls4mls(value):
    from hls4ml.model.optimizer.passes.infer_precision import _get_precision_from_constant

    try:
        wished = _get_precision_from_constant(value)
    except OverflowError:
        return
    if wished.width >= 1:
        assert str(inference.constant(value)) == text(wished)


def test_compiled_answers_are_the_same_to_the_bit(tmp_path):
    """From hls4ml's own configuration of an ONNX model to what its C++ emulation computes."""
    import hls4ml
    import onnx
    import onnxruntime

    path = cleaned(*mlp(), tmp_path)
    with quiet():
        config = hls4ml.utils.config_from_onnx_model(onnx.load(path), granularity="name", backend=BACKEND)
        config["LayerName"]["MatMul_1"]["Precision"] = {
            "weight": "fixed<9,3>",
            "result": "fixed<12,5>",
            "accum": "auto",
        }
        # A wide input would leave its table one step for all that comes.
        last = [name for name in names_in(path) if name.startswith("Add")][-1]
        config["LayerName"][last]["Precision"] = {"result": "fixed<10,4>"}
        model = converted(path, config, tmp_path)
        model.write()
        script = tmp_path / "project" / "build_lib.sh"
        script.write_text(script.read_text().replace("-O3", "-O0"))
        model._compile()
        rows = np.random.default_rng(2).normal(size=(1000, 8), scale=4).astype(np.float32)
        wished = model.predict(rows)
    out = convert(path, format="hls4ml", configuration=config, out=tmp_path / "emulated.onnx")
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: rows})
    assert np.count_nonzero(wished != found) == 0
    assert np.unique(wished.round(4)).size > 100


def test_an_activation_does_not_take_the_formats_of_its_keras_layer():
    """hls4ml makes two layers of it, ``fc1`` and ``fc1_relu``; one that is not configured has the model's default."""
    g = Graph()
    x = g.node("MatMul", g.input("x", 4), g.weights(4, 3), name="model/fc1/MatMul")
    x = g.node("Relu", x, name="model/fc1/Relu")
    _, resolved = of_ours(g.model(x), CLEAR | {"LayerName": {"fc1": {"Precision": "fixed<10,3>"}}})
    assert [formats.result.width for formats in resolved.formats.values()] == [16, 10, 16]
