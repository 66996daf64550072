"""Rounding by ONNX nodes against numpy, for inputs of a network and for values already rounded once."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from evtfw.external.emulator.fixed.layer_formats import LayerFormats
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid, Overflow, Rounding
from evtfw.external.emulator.network import Network, Quantise, Tensor
from tests.external.emulator.fixed.vectors import adversarial_rows, session_of

FINE = FixedPoint(40, 20, rounding="RND", overflow="SAT")
SHAPES = [(8, 5, True), (8, 5, False), (1, 1, True), (6, -2, True), (6, 9, True), (30, 10, True)]
MODES = [(rounding, overflow) for rounding in get_args(Rounding) for overflow in get_args(Overflow)]


def rounded(values, target, first):
    """Values after a first format, and then the one in question, in a model."""
    layer = Quantise(name="q", inputs=("x",), output="y", shape=values.shape[1:], format=target)
    network = Network("rounding", (Tensor("x", values.shape[1:], values.dtype),), ("y",), (layer,))
    session = session_of(network, {"x": LayerFormats(result=first), "q": LayerFormats(result=target)})
    found = session.run(None, {"x": values})[0]
    assert not np.signbit(found[found == 0]).any(), "fixed point has no negative zero"
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_equal_to_numpy(rounding, overflow, dtype):
    for width, integer, is_signed in SHAPES:
        if overflow == "WRAP_SM" and not is_signed:
            continue
        target = FixedPoint(width, integer, is_signed, rounding, overflow)
        values = adversarial_rows(3000, 1, target).astype(dtype)
        for first in (target, FINE):
            golden = target.quantise(first.quantise(values))
            np.testing.assert_array_equal(rounded(values, target, first), golden)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_a_format_for_each_value_equals_numpy(rounding, overflow):
    rng = np.random.default_rng(6)
    integer, fraction = rng.integers(-2, 4, 20), rng.integers(-1, 6, 20)
    is_signed = np.ones(20, bool) if overflow == "WRAP_SM" else rng.integers(0, 2, 20) > 0
    grid = FixedPointGrid(is_signed, integer, fraction, rounding, overflow)
    values = adversarial_rows(600, 20, FixedPoint(10, 4))
    for first in (grid, FINE):
        np.testing.assert_array_equal(rounded(values, grid, first), grid.quantise(first.quantise(values)))


@pytest.mark.parametrize("overflow", ["SAT", "SAT_SYM"])
def test_infinite_inputs_saturate(overflow):
    target = FixedPoint(8, 4, overflow=overflow)
    values = np.array([[np.inf], [-np.inf]])
    np.testing.assert_array_equal(rounded(values, target, target), [[target.highest], [target.lowest]])


def test_numbers_near_the_largest_float32_wrap_rightly():
    target = FixedPoint(16, 6)
    values = np.array([[3e38], [-3e38], [2.0**43 + 2.0**20], [1e12]], dtype=np.float32)
    np.testing.assert_array_equal(rounded(values, target, target), target.quantise(values))
