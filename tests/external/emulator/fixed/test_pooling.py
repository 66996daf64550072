"""Pools give what hls4ml's compiled C++ gives, to the bit."""

import numpy as np
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.graph import Signal
from evtfw.external.emulator.fixed.pooling import mean_accumulator
from evtfw.external.emulator.fixed.writer import write
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid
from evtfw.external.emulator.network import Quantise
from tests.external.emulator.fixed.images import check_same, formats, network, pool, random_rows, relu, run

ACCUMULATORS = {
    "wide": "ap_fixed<24,10>",
    "wraps": "ap_fixed<14,4,RND>",
    "coarse": "ap_fixed<9,4,RND_MIN_INF>",
    "conv": "ap_fixed<9,5,RND_CONV>",
    "saturates": "ap_fixed<10,5,RND_INF,SAT_SYM>",
    "unsigned": "ap_ufixed<9,4,TRN_ZERO,SAT>",
}
"""By what happens in them."""


def test_pools_are_bit_exact_with_pads_and_overflow(tmp_path):
    sliding = {"strides": (2, 2), "pads": (1, 0, 1, 1)}
    layers = [relu("r", "x", (2, 6, 7))]
    for name in ACCUMULATORS:
        layers += [
            pool(f"mean_{name}", "x", (2, 3, 4), "average", (3, 2), **sliding),
            pool(f"max_{name}", "x", (2, 3, 4), "max", (3, 2), **sliding),
        ]
    layers += [
        pool("counted", "x", (2, 3, 4), "average", (3, 2), counts_padding=True, **sliding),
        pool("unsigned_max", "r_out", (2, 3, 4), "max", (3, 2), **sliding),
        pool("whole_mean", "x", (2,), "average", (6, 7)),
        pool("whole_max", "x", (2,), "max", (6, 7)),
    ]
    result = "ap_fixed<13,5,RND,SAT>"
    found = {
        layer.name: formats(
            result=result, accumulator=ACCUMULATORS.get(layer.name.removeprefix("mean_"), "ap_fixed<20,9>")
        )
        for layer in layers
    }
    found |= {f"max_{name}": formats(result=result, accumulator=text) for name, text in ACCUMULATORS.items()}
    found |= {"x": formats(result="ap_fixed<12,5>"), "r": formats(result="ap_ufixed<11,4>")}
    outputs = tuple(layer.output for layer in layers[1:])
    check_same(network((2, 6, 7), layers, outputs), found, random_rows((2, 6, 7), 10_500, seed=7), tmp_path)


def test_a_mean_without_accumulator_has_the_one_that_hls4ml_infers():
    layers = [pool("p", "x", (1, 2), "average", (5,), strides=(1,))]
    found = {"x": formats(result="ap_fixed<8,3>"), "p": formats(result="ap_fixed<24,8>")}
    x = np.array([[[1.0, 2.0, -3.0, 0.03125, 0.5, -4.0]]], np.float32)
    sums = np.array([[[0.53125, -4.46875]]])
    answer = run(write(network((1, 6), layers), found).model, x)["p_out"]
    np.testing.assert_array_equal(answer, np.trunc(sums * 2**8 / 5) / 2**8)
    signal = Signal("x", (1, 6), 0, 5, -4.0, 3.96875, np.dtype(np.float32), FixedPoint(8, 3))
    assert mean_accumulator(signal, 5) == FixedPoint(14, 6)


@pytest.mark.parametrize("values", [3, 7, 13])
def test_means_just_below_an_integer_are_cut_to_the_one_before(values):
    """In float32, whose quotients are nearly as wide as its numbers."""
    kept = "ap_fixed<24,24>"
    found = {"x": formats(result="ap_fixed<20,20>"), "p": formats(result=kept, accumulator=kept)}
    highest = 2**19 - 1
    rows = np.full((4, 1, values), highest, np.float32)
    rows[1, 0, 0], rows[2], rows[3] = highest - 1, -highest - 1, -highest
    rows[3, 0, 0] = -highest + 1
    layers = [pool("p", "x", (1,), "average", (values,))]
    answer = run(write(network((1, values), layers), found).model, rows)["p_out"]
    np.testing.assert_array_equal(answer[:, 0], [highest, highest - 1, -highest - 1, -highest + 1])


def test_windows_of_padding_only_are_refused_for_means():
    layers = [pool("p", "x", (1, 4), "average", (2,), pads=(2, 1))]
    found = {"x": formats(result="ap_fixed<8,3>"), "p": formats(result="ap_fixed<8,3>")}
    with pytest.raises(ConfigurationError, match="layer 'p' has windows that see padding only"):
        write(network((1, 5), layers), found)


def test_padding_of_values_with_a_format_each_is_refused_for_maxima():
    grid = FixedPointGrid(np.array([True]), np.array([[2, 3, 2, 3]]), np.array([[4, 4, 5, 5]]))
    layers = [
        Quantise(name="q", inputs=("x",), output="q_out", shape=(1, 4), format=grid),
        pool("p", "q_out", (1, 3), "max", (2,), pads=(1, 1)),
    ]
    found = {name: formats(result="ap_fixed<8,3>") for name in ("x", "q", "p")}
    with pytest.raises(ConfigurationError, match="layer 'p' pads values that have a format each"):
        write(network((1, 4), layers), found)
