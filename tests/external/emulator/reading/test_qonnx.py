"""QONNX models answer what qonnx' own executor says."""

import contextlib
import io

import numpy as np
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.conversion import convert
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid
from evtfw.external.emulator.network import Dense, Quantise
from evtfw.external.emulator.reading.onnx_reader import read
from tests.external.emulator.reading.models import Graph

GENERAL = "qonnx.custom_op.general"


def quant(g, x, scale, bits, *, op="Quant", **attributes):
    options = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | attributes
    inputs = [g.constant(scale), g.constant(0.0), g.constant(float(bits))]
    return g.node(op, x, *inputs, domain=GENERAL, **options)


def executed(model, rows):
    """What qonnx says, row by row: its graphs have a fixed batch."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    with contextlib.redirect_stdout(io.StringIO()):
        wrapper = ModelWrapper(model).transform(InferShapes())
        (name,) = (value.name for value in model.graph.input)
        found = [execute_onnx(wrapper, {name: row[None]}) for row in rows]
    return {output.name: np.concatenate([f[output.name] for f in found]) for output in model.graph.output}


def emulated(model, rows, tmp_path):
    import onnxruntime

    path = convert(model, format="qonnx", out=tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    given = {session.get_inputs()[0].name: rows}
    return dict(zip(names, session.run(names, given), strict=True))


def check(g, outputs, tmp_path, rows=80, spread=2.0):
    model = g.model(*outputs)
    shape = read(model).network.inputs[0].shape
    given = np.random.default_rng(5).normal(size=(rows, *shape), scale=spread).astype(np.float32)
    # Ties of the rounding modes, the ends of the formats, and far beyond them.
    flat = given.reshape(-1)
    flat[::3] = np.round(flat[::3] * 32) / 32
    flat[::17] *= 100
    wished, found = executed(model, given), emulated(model, given, tmp_path)
    for name in outputs:
        assert np.count_nonzero(found[name] != wished[name]) == 0


def test_an_mlp_with_quantised_weights_biases_and_values(tmp_path):
    g = Graph(batch=1)
    x = quant(g, g.input("x", 16), 2.0**-4, 8)
    for inputs, outputs, bits in ((16, 12, 6), (12, 10, 4)):
        weight = quant(g, g.weights(inputs, outputs), 2.0**-3, bits, narrow=1)
        x = g.node("Add", g.node("MatMul", x, weight), quant(g, g.weights(outputs), 2.0**-5, 8))
        x = quant(g, g.node("Relu", x), 2.0**-3, 6, signed=0)
    weight = quant(g, g.weights(10, 3), 0.25 * 2.0 ** -np.arange(3), 4)  # a scale for each output
    check(g, [g.node("MatMul", x, weight, output="y")], tmp_path)


def test_a_cnn_with_quantised_normalisation(tmp_path):
    g = Graph(batch=1)
    x = quant(g, g.input("x", 2, 6, 6), 2.0**-3, 6)
    x = g.node("Conv", x, quant(g, g.weights(4, 2, 3, 3), 0.125, 4), pads=[1] * 4, kernel_shape=[3, 3], strides=[1, 1])
    x = g.node("Mul", x, quant(g, g.constant(g.random.uniform(0.5, 2, (4, 1, 1))), 2.0**-4, 8))
    x = g.node("Add", x, quant(g, g.weights(4, 1, 1), 2.0**-6, 8))
    x = quant(g, g.node("Relu", x), np.array([0.125, 0.25, 0.125, 0.5]).reshape(1, 4, 1, 1), 4, signed=0)
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.node("AveragePool", x, kernel_shape=[2, 2], strides=[1, 1])
    x = quant(g, x, 0.25, 5, rounding_mode="FLOOR")
    x = g.node("Reshape", x, g.whole(1, 16))
    check(g, [g.node("MatMul", x, quant(g, g.weights(16, 3), 0.125, 4), output="y")], tmp_path, rows=40)


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated")  # that is qonnx's
@pytest.mark.parametrize("mode", ["ROUND", "HALF_EVEN", "FLOOR", "DOWN", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("op", ["Quant", "IntQuant"])
def test_rounding_modes(mode, signed, op, tmp_path):
    g = Graph(batch=1)
    options = {"signed": signed, "rounding_mode": mode, "op": op}
    x = quant(g, g.input("x", 40), 2.0**-3, 7, narrow=signed, **options)
    check(g, [quant(g, x, 0.5, 4, **options)], tmp_path, rows=40)


def test_one_bit(tmp_path):
    g = Graph(batch=1)
    x = quant(g, g.input("x", 12), 2.0**-4, 8)
    weight = g.node("BipolarQuant", g.weights(12, 6), g.constant(0.5), domain=GENERAL)
    x = g.node("BipolarQuant", g.node("MatMul", x, weight), g.constant(0.25), domain=GENERAL)
    weight = quant(g, g.weights(6, 4), 1.0, 1)
    check(g, [g.node("MatMul", x, weight)], tmp_path)


def test_branches_and_slopes(tmp_path):
    g = Graph(batch=1)
    x = quant(g, g.input("x", 8), 2.0**-4, 8)
    y = g.node("LeakyRelu", g.node("MatMul", x, quant(g, g.weights(8, 8), 0.25, 4)), alpha=0.125)
    y = quant(g, y, 0.25, 6)
    merged = [g.node(op, x, y) for op in ("Add", "Sub", "Mul")]
    check(g, [g.node("Concat", *merged, x, axis=1), g.node("Clip", y, g.constant(0.0), g.constant(1.5))], tmp_path)


def test_truncation_after_a_sum(tmp_path):
    g = Graph(batch=1)
    x = quant(g, g.input("x", 8), 2.0**-4, 6)
    constants = [g.constant(v) for v in (2.0**-4, 0.0, 8.0, 0.25, 5.0)]
    x = g.node("Add", x, x)
    node = {"domain": GENERAL, "rounding_mode": "FLOOR", "signed": 1, "narrow": 0}
    model = g.model(g.node("Trunc", x, *constants, **node))
    layers = read(model).network.layers
    assert [layer.format for layer in layers if isinstance(layer, Quantise)][-1] == FixedPoint(5, 3, overflow="SAT")


def test_formats_and_weights_are_the_sources_own():
    g = Graph()
    x = quant(g, g.input("x", 4), np.array([0.5, 0.25, 0.5, 1.0]), 4, narrow=1)
    model = read(g.model(g.node("MatMul", x, quant(g, g.weights(4, 2), 0.125, 3))))
    first, dense = model.network.layers
    assert isinstance(first.format, FixedPointGrid)
    np.testing.assert_array_equal(first.format.fraction, [1, 2, 1, 0])
    assert first.format.overflow == "SAT_SYM"
    assert isinstance(dense, Dense)
    np.testing.assert_array_equal(dense.weight * 8, np.round(dense.weight * 8))
    assert model.weight_formats[dense.name] == FixedPoint(3, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": 0.3}, "power of two.*2\\*\\*-2"),
        ({"rounding_mode": "CEIL"}, "no rounding mode 'CEIL'"),
        ({"signed": 0, "narrow": 1}, "narrow range"),
        ({"bits": 1}, "BipolarQuant"),
        ({"bits": 2.5}, "whole number of bits"),
    ],
)
def test_what_fixed_point_cannot_do_is_told(options, words):
    g = Graph()
    arguments = {"scale": 0.25, "bits": 4} | options
    x = quant(g, g.input("x", 4), arguments.pop("scale"), arguments.pop("bits"), **arguments)
    with pytest.raises(ConfigurationError, match=words):
        read(g.model(x))


def test_zero_points_are_refused():
    g = Graph()
    constants = [g.constant(0.25), g.constant(3.0), g.constant(4.0)]
    x = g.node("Quant", g.input("x", 4), *constants, domain=GENERAL, signed=1, narrow=0, rounding_mode="ROUND")
    with pytest.raises(ConfigurationError, match="zero point of 3"):
        read(g.model(x))


def test_values_that_the_source_leaves_in_float_are_refused(tmp_path):
    g = Graph()
    x = g.input("x", 4)
    model = g.model(quant(g, g.node("Relu", x), 0.25, 4))
    with pytest.raises(ConfigurationError, match="nothing quantises input 'x'"):
        convert(model, format="native", out=tmp_path / "a.onnx")
    g = Graph()
    x = g.node("MatMul", quant(g, g.input("x", 4), 0.25, 4), g.constant(np.random.default_rng(0).normal(size=(4, 2))))
    with pytest.raises(ConfigurationError, match="weights are not quantised"):
        convert(g.model(x), format="native", out=tmp_path / "a.onnx")
