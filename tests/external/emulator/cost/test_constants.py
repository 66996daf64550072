"""Signed digits, and what a layer's weights come to."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evtfw.external.emulator.cost.constants import Constants, as_kernel, signed_digits


def digits_one_by_one(number):
    """Non-adjacent form by its definition: the digit that makes the rest divisible by four."""
    found = 0
    while number:
        if number % 2:
            digit = 2 - number % 4
            number -= digit
            found += 1
        number //= 2
    return found


@given(st.integers(-(2**40), 2**40), st.integers(-60, 20))
def test_digits_are_those_of_the_definition_wherever_the_point_is(number, shift):
    assert signed_digits(np.array([number * 2.0**shift]))[0] == digits_one_by_one(abs(number))


def test_weights_are_counted():
    found = Constants.of(np.array([[0.0, 0.5], [3.0, 85.0], [1.0, 0.0]]))
    assert (found.size, found.non_zero, found.shifts) == (6, 4, 2)
    assert (found.digits, found.many, found.digits_of_many) == (1 + 2 + 4 + 1, 1, 4)
    assert (found.inputs, found.outputs) == (2, 2)


def test_all_zero_weights_have_no_digits():
    found = Constants.of(np.zeros((3, 2)))
    assert (found.non_zero, found.digits, found.inputs) == (0, 0, 1)


def test_unknown_weights_count_as_random_ones():
    known = Constants.of(np.random.default_rng(1).integers(-(2**11), 2**11, (200, 50)).astype(float))
    unknown = Constants.unknown(10_000, 50, 12)
    assert abs(unknown.digits / known.digits - 1) < 0.1


def test_kernels_of_convolutions_have_their_outputs_last():
    assert as_kernel(np.zeros((8, 3, 5, 5))).shape == (75, 8)
    assert as_kernel(np.zeros((3, 8))).shape == (3, 8)
