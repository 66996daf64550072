"""What a written model is beside its numbers: names, types, the card, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from onnx import numpy_helper

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.writer import write
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Layer
from tests.external.emulator.fixed.vectors import VectorNetwork, emulator, mlp

F16 = "fixed<16,6>"
ALL_16 = {"result": F16, "weight": F16, "bias": F16}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Unheard(Layer):
    pass


def small(**formats):
    made = VectorNetwork(4, F16)
    return made, made.network(mlp(made, "layer", (6, 2), **{**ALL_16, **formats}), dtype="float32")


def test_inputs_and_outputs_are_the_sources():
    made, network = small()
    model = write(network, made.formats).model
    assert [tensor.name for tensor in (*model.graph.input, *model.graph.output)] == ["x", "layer1_out"]
    found = emulator(network, made.formats)(np.ones((3, 4), np.float32))["layer1_out"]
    assert (found.shape, found.dtype) == ((3, 2), np.float32)


def test_an_output_that_float32_does_not_hold_is_float64_and_said_to_be():
    made = VectorNetwork(4, F16)
    network = made.network(made.dense("wide", "x", 2, **{**ALL_16, "result": "fixed<40,20>"}), dtype="float32")
    written = write(network, made.formats)
    assert written.notes == ("output 'wide_out' is float64, as float32 does not hold every value of ap_fixed<40,20>",)
    assert emulator(network, made.formats)(np.ones((1, 4)))["wide_out"].dtype == np.float64


def test_cards_tell_formats_and_where_the_weights_are():
    made, network = small(accumulator="fixed<30,14>")
    written = write(network, made.formats)
    card = written.layers[0]
    assert (card.kind, card.input_shape, card.output_shape) == ("dense", (4,), (6,))
    assert (card.multiplications, card.parameters) == (24, 30)
    assert (card.weight_format, card.accumulator_format) == ("ap_fixed<16,6>", "ap_fixed<30,14>")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in written.model.graph.initializer}
    weight = network.layers[0].weight
    np.testing.assert_array_equal(constants[card.weights], FixedPoint.parse(F16).quantise(weight))
    np.testing.assert_array_equal(constants[card.bias], FixedPoint.parse(F16).quantise(network.layers[0].bias))


def test_short_sums_are_computed_in_float32():
    made = VectorNetwork(4, "fixed<6,2>")
    six = {"result": "fixed<6,2>", "weight": "fixed<6,2>", "bias": "fixed<6,2>"}
    model = write(made.network(mlp(made, "layer", (6, 2), **six)), made.formats).model
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith("_weight")]
    assert {numpy_helper.to_array(tensor).dtype.name for tensor in weights} == {"float32"}


def test_weights_pass_through_text_as_in_hls4ml():
    """With 2 bits behind the point, hls4ml writes 2 decimals: -0.004 becomes 0, and not the -0.25 of rounding down."""
    made = VectorNetwork(1, F16)
    output = made.dense("one", "x", 1, result=F16, weight="fixed<6,4>", bias=F16)
    network = made.network(output)
    layer = dataclasses.replace(network.layers[0], weight=np.array([[-0.004]]), bias=np.zeros(1))
    network = dataclasses.replace(network, layers=(layer,))
    assert emulator(network, made.formats)(np.ones((1, 1)))[output] == 0
    exact = dict(made.formats, one=dataclasses.replace(made.formats["one"], has_text_weights=False))
    assert emulator(network, exact)(np.ones((1, 1)))[output] == -0.25


def test_missing_formats_are_named():
    made, network = small()
    del made.formats["layer1"]
    with pytest.raises(ConfigurationError, match="no number formats for 'layer1'; did you mean 'layer0'"):
        write(network, made.formats)


def test_sums_beyond_53_bits_are_refused_with_the_layer():
    made, network = small(weight="fixed<45,6>")
    with pytest.raises(ConfigurationError, match=r"layer 'layer0' has sums of up to .* bits"):
        write(network, made.formats)


def test_unknown_layers_are_named():
    network = dataclasses.replace(
        small()[1], layers=(Unheard(name="odd", inputs=("x",), output="y", shape=(4,)),), outputs=("y",)
    )
    formats = {"x": small()[0].formats["x"], "odd": small()[0].formats["x"]}
    with pytest.raises(ConfigurationError, match="layer 'odd' is a Unheard, which has no ap_fixed arithmetic"):
        write(network, formats)


def test_a_softmax_table_that_does_not_fit_is_refused():
    made = VectorNetwork(4, "fixed<8,4>")
    network = made.network(made.softmax("end", "x", "latency", F16))
    with pytest.raises(ConfigurationError, match=r"'end' has a table of 1024 entries that is looked up with ap_fixed"):
        write(network, made.formats)


def test_a_table_needs_the_format_of_its_entries():
    made = VectorNetwork(4, F16)
    network = made.network(made.activation("end", "x", "sigmoid", result=F16))
    with pytest.raises(ConfigurationError, match=r"'end' \(sigmoid\) is a table; it needs a format of its entries"):
        write(network, made.formats)
