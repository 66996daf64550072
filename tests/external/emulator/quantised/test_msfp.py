"""Block floating point networks: operands have the bits of the numpy reference, and sums stay within their bound."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import evtfw.data
from benchmarks.resnet50 import ResNet, images, resnet
from evtfw.external.emulator.formats.msfp import Msfp
from evtfw.external.emulator.quantised import rewrite
from tests.external.emulator.quantised.conftest import model_of, run, with_outputs
from tests.external.emulator.quantised.reference import convolve

FORMATS = ("msfp12", "msfp16", "msfp<8,5,3>", "brainwave-ms-fp9", "msfp<3,2,7>")
UNIT = 2.0**-24


def hostile(shape, seed=0):
    """Values of all sizes: powers of two and their neighbours, zeros, denormal numbers, and all signs."""
    rng = np.random.default_rng(seed)
    exponents = rng.integers(-20, 20, shape) * rng.choice([0, 0.1, 1, 6.4], shape[:1] + (1,) * (len(shape) - 1))
    powers = np.exp2(np.rint(exponents)).astype(np.float32)
    beside = np.nextafter(powers, rng.choice([0, np.inf], shape).astype(np.float32))
    values = np.where(rng.random(shape) < 0.4, powers, beside) * rng.choice([-1, -0.75, 0, 1, 1.5], shape)
    values[0] = np.float32(1e-45) * rng.integers(-9, 9, shape[1:])
    values[1] = 0
    values[2] *= 1e30
    return np.clip(values, -3e38, 3e38).astype(np.float32)


def layer(kind, channels, groups=1):
    """A model of one layer with hostile rows for it."""
    weight = np.random.default_rng(1).normal(size=(6 * groups, channels // groups)).astype(np.float32)
    if kind == "Conv":
        node = helper.make_node("Conv", ["x", "w"], ["y"], "layer", group=groups)
        return model_of([node], {"w": weight[..., None, None]}, {"x": (channels, 3, 2)}, ["y"]), hostile(
            (40, channels, 3, 2)
        )
    shape = (4, channels) if kind == "MatMul" else (channels,)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "layer")
    return model_of([node], {"w": weight.T.copy()}, {"x": shape}, ["y"]), hostile((40, *shape))


def operands(rewritten, name):
    """Names of what a layer takes, and its weights."""
    node = next(node for node in rewritten.graph.node if node.name == name)
    weight = next(t for t in rewritten.graph.initializer if t.name == node.input[1])
    return node, numpy_helper.to_array(weight)


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize(
    ("kind", "channels", "groups"),
    [
        *[("Conv", 1, 1), ("Conv", 16, 1), ("Conv", 37, 1), ("Conv", 160, 1), ("Conv", 48, 4), ("Conv", 60, 3)],
        *[("Gemm", 5, 1), ("Gemm", 256, 1), ("Gemm", 130, 1), ("MatMul", 48, 1), ("MatMul", 130, 1)],
    ],
)
def test_operands_have_the_bits_of_the_reference(written, kind, channels, groups):
    model, rows = layer(kind, channels, groups)
    number_format = Msfp.parse(written)
    rewritten, _, _ = rewrite(model, written)
    node, weight = operands(rewritten, "layer")
    found = run(with_outputs(rewritten, node.input[0]), {"x": rows})[node.input[0]]
    if kind == "MatMul":
        expected = number_format.quantise(rows, -1)
    else:  # boxes end with their group
        expected = np.concatenate([number_format.quantise(part, 1) for part in np.split(rows, groups, 1)], 1)
    np.testing.assert_array_equal(found, expected)
    before = numpy_helper.to_array(model.graph.initializer[0])
    before = before.T if kind == "Gemm" else before
    np.testing.assert_array_equal(weight, number_format.quantise(before, 0 if kind == "MatMul" else 1))


def assert_layers_within_bound(rewritten, rows, number_format):
    """Each layer takes rounded values and its result is that of float64 up to the bound of the docstring."""
    layers = [node for node in rewritten.graph.node if node.op_type in ("Conv", "Gemm")]
    sources = {node.input[0]: source_of(rewritten, node.input[0]) for node in layers}
    wanted = {*sources, *sources.values(), *(node.output[0] for node in layers)} - set(rows)
    wanted -= {output.name for output in rewritten.graph.output}
    values = run(with_outputs(rewritten, *sorted(wanted)), rows) | rows
    constants = {t.name: numpy_helper.to_array(t) for t in rewritten.graph.initializer}
    for node in layers:
        x, weight = values[node.input[0]].astype(np.float64), constants[node.input[1]].astype(np.float64)
        expected_operand = number_format.quantise(values[sources[node.input[0]]], 1)
        np.testing.assert_array_equal(values[node.input[0]], expected_operand, err_msg=node.name)
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        bias = constants[node.input[2]].astype(np.float64)
        shape = (-1, 1, 1) if node.op_type == "Conv" else (-1,)
        multiply = convolve if node.op_type == "Conv" else (lambda x, w, _: x @ w.T)
        exact = multiply(x, weight, attributes) + bias.reshape(shape)
        sizes = multiply(abs(x), abs(weight), attributes) + abs(bias).reshape(shape)
        bound = (weight[0].size + 1) * UNIT / (1 - (weight[0].size + 1) * UNIT) * sizes
        assert (abs(values[node.output[0]] - exact) <= bound).all(), node.name
    return len(layers)


def source_of(rewritten, rounded):
    """The tensor that was rounded to this one."""
    producers = {name: node for node in rewritten.graph.node for name in node.output}
    names = {name for node in rewritten.graph.node for name in node.output} | {i.name for i in rewritten.graph.input}
    node, name = producers[rounded], rounded
    stem = (
        rounded.rsplit("_msfp", 1)[0] if "_msfp" in rounded else rounded.rsplit("_above", 1)[0].rsplit("_below", 1)[0]
    )
    assert stem in names, (node.op_type, name)
    return stem


@pytest.mark.parametrize("written", ["msfp12", "brainwave-ms-fp9"])
def test_a_residual_network_stays_within_the_bound(small, written):
    model, rows = small
    rewritten, _, _ = rewrite(model, written)
    assert assert_layers_within_bound(rewritten, rows, Msfp.parse(written)) == 14


def test_resnet50_stays_within_the_bound():
    shape = ResNet(side=64)  # all weights; fewer positions, for the reference's sake
    rewritten, _, notes = rewrite(resnet(shape), "msfp12")
    rows = {"image": images(1, side=shape.side)}
    assert assert_layers_within_bound(rewritten, rows, Msfp.parse("msfp12")) == 55
    assert "exact: weights and inputs of 55 layers" in notes[0]


def test_more_mantissa_bits_come_closer_to_the_float_network(small):
    model, rows = small
    expected = run(model, rows)["logits"]
    errors = [abs(run(rewrite(model, f"msfp{n}")[0], rows)["logits"] - expected).mean() for n in (11, 13, 15)]
    errors.append(abs(run(rewrite(model, "msfp<8,15,16>")[0], rows)["logits"] - expected).mean())
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 200 * errors[3]


def test_a_value_that_two_layers_take_is_rounded_once(small):
    rewritten, _, _ = rewrite(small[0], "msfp12")
    maxima = [node for node in rewritten.graph.node if node.op_type == "ReduceMax"]
    assert len(maxima) == 12  # 14 layers; two shortcuts take what their blocks take


def test_depthwise_convolutions_are_left_in_float(zoo):
    model, rows = zoo
    rewritten, cards, notes = rewrite(model, "msfp16")
    assert any("Conv 'depthwise' is left in float32: it is depthwise" in note for note in notes)
    assert {card.name for card in cards if card.input_format} == {"first", "grouped", "last", "dense", "scores"}
    expected = run(model, rows)["scores"]
    assert abs(run(rewritten, rows)["scores"] - expected).mean() < 0.05 * expected.std()


def test_the_shipped_tagger_scores_as_before():
    model = onnx.load(evtfw.data.path("toptag.onnx"))
    rows = {"image": np.random.default_rng(2).exponential(0.06, (6, 64, 64, 1)).astype(np.float32)}
    rewritten, cards, _ = rewrite(model, "brainwave-cnn")
    assert sum(bool(card.input_format) for card in cards) == 9
    assert abs(run(rewritten, rows)["probability"] - run(model, rows)["probability"]).max() < 0.1
