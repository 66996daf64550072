"""Dense layers in formats drawn at random, against sums made one by one in numpy."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.dense import rounded_parameter
from evtfw.external.emulator.fixed.layer_formats import LayerFormats
from evtfw.external.emulator.formats.fixed_point import FixedPoint, Overflow, Rounding
from evtfw.external.emulator.network import Dense, Network, Tensor
from tests.external.emulator.fixed.vectors import VectorNetwork, adversarial_rows, emulator


def formats(widths):
    return st.builds(
        lambda width, integer, is_signed, rounding, overflow: FixedPoint(
            width, integer, is_signed or overflow == "WRAP_SM", rounding, overflow
        ),
        widths,
        st.integers(-1, 7),
        st.booleans(),
        st.sampled_from(get_args(Rounding)),
        st.one_of(st.just("WRAP"), st.sampled_from(get_args(Overflow))),
    )


def one_by_one(rows, layer, given):
    """What hls4ml's loops compute."""
    weight = rounded_parameter(layer.weight, given.weight, given)
    bias = rounded_parameter(layer.bias, given.bias, given)
    keep = given.accumulator.quantise if given.accumulator else np.asarray
    total = np.broadcast_to(keep(bias), (*rows.shape[:-1], weight.shape[1]))
    for index in range(len(weight)):
        total = keep(total + keep(rows[..., index : index + 1] * weight[index]))
    return given.result.quantise(total)


@settings(max_examples=150, deadline=None)
@given(
    source=formats(st.integers(4, 12)),
    weight=formats(st.integers(3, 10)),
    accumulator=st.one_of(st.none(), formats(st.integers(6, 26))),
    result=formats(st.integers(3, 16)),
    axes=st.sampled_from([(5,), (2, 5)]),
    seed=st.integers(0, 100),
)
def test_any_formats_equal_sums_made_one_by_one(source, weight, accumulator, result, axes, seed):
    rng = np.random.default_rng(seed)
    layer = Dense(
        name="d",
        inputs=("x",),
        output="y",
        shape=(*axes[:-1], 3),
        weight=rng.normal(size=(5, 3)) * 2.0**weight.integer / 2,
        bias=rng.normal(size=3) * 2.0**weight.integer,
    )
    given_formats = LayerFormats(result=result, weight=weight, bias=weight, accumulator=accumulator)
    network = Network("one", (Tensor("x", axes, np.dtype(np.float64)),), ("y",), (layer,))
    rows = adversarial_rows(300, int(np.prod(axes)), source, seed=seed).reshape(-1, *axes)
    found = emulator(network, {"x": LayerFormats(result=source), "d": given_formats})(rows)["y"]
    np.testing.assert_array_equal(found, one_by_one(source.quantise(rows), layer, given_formats))


def test_long_sums_in_an_order_that_matters_are_refused():
    made = VectorNetwork(1500, "fixed<8,4>")
    output = made.dense("long", "x", 1, result="fixed<8,4>", weight="fixed<8,4>", accumulator="fixed<8,4,TRN,SAT>")
    with pytest.raises(ConfigurationError, match=r"'long' sums 1500 products in an accumulator .* that can overflow"):
        emulator(made.network(output), made.formats)


def test_weights_without_a_format_are_refused():
    made = VectorNetwork(4, "fixed<8,4>")
    output = made.dense("bare", "x", 1, result="fixed<8,4>")
    with pytest.raises(ConfigurationError, match="'bare' has weights, but no number format for them"):
        emulator(made.network(output), made.formats)
