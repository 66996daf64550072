"""Block floating point against a definition in exact fractions."""

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.msfp import PRESETS, Msfp

formats = st.builds(Msfp, st.integers(2, 8), st.integers(1, 15), st.sampled_from([1, 2, 3, 16, 128]))
floats = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-149, 127).map(lambda e: 2.0**e)


def by_definition(number_format, box):
    """One box, in exact arithmetic."""
    largest = max(abs(Fraction(float(x))) for x in box)
    exponent = number_format.lowest_exponent
    while exponent < number_format.highest_exponent and Fraction(2) ** (exponent + 1) <= largest:
        exponent += 1
    step = Fraction(2) ** (exponent + 1 - number_format.mantissa_bits)
    most = 2**number_format.mantissa_bits - 1
    return [float(max(-most, min(most, round(Fraction(float(x)) / step))) * step) for x in box]


@given(formats, hnp.arrays(np.float32, st.integers(1, 20), elements=floats))
def test_values_are_those_of_the_definition(number_format, values):
    box = number_format.box_size
    expected = [y for i in range(0, len(values), box) for y in by_definition(number_format, values[i : i + box])]
    np.testing.assert_array_equal(number_format.quantise(values, 0), np.float32(expected))


@given(formats, hnp.arrays(np.float32, st.tuples(st.just(3), st.integers(1, 40)), elements=floats))
def test_rounding_twice_is_rounding_once(number_format, values):
    once = number_format.quantise(values, 1)
    np.testing.assert_array_equal(number_format.quantise(once, 1), once)


@pytest.mark.parametrize(
    ("written", "values", "expected"),
    [
        ("msfp<8,3,4>", [1, 0.9, 0.125, 0.126], [1, 1, 0, 0.25]),  # steps of 1/4; ties to even
        ("msfp<8,3,4>", [1.99, 1.874, -1.9, 0.374], [1.75, 1.75, -1.75, 0.25]),  # saturates at 7 steps
        ("msfp<8,3,2>", [8, 1, 0.125, 0.1], [8, 0, 0.125, 0.09375]),  # each box for itself
        ("msfp<5,3,2>", [2.0**20, 1, 2.0**-16, 2.0**-18], [7 * 2.0**14, 0, 2.0**-16, 0]),  # exponents end at -15 and 16
        ("msfp12", [0.0, -0.0], [0, 0]),
        ("msfp12", [np.inf, 1], [7 * 2.0**100, 0]),
    ],
)
def test_examples(written, values, expected):
    np.testing.assert_array_equal(Msfp.parse(written).quantise(np.float32(values), 0), np.float32(expected))


def test_boxes_lie_along_the_axis_that_is_asked_for():
    values = np.random.default_rng(0).normal(size=(2, 40, 3)).astype(np.float32)
    number_format = Msfp.parse("msfp12")
    along = number_format.quantise(values, 1)
    np.testing.assert_array_equal(along, np.moveaxis(number_format.quantise(np.moveaxis(values, 1, 2), 2), 2, 1))
    np.testing.assert_array_equal(along[:, 16:32], number_format.quantise(values[:, 16:32], 1))
    np.testing.assert_array_equal(along[:, 32:], number_format.quantise(values[:, 32:], 1))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_written_out(name):
    assert Msfp.parse(str(PRESETS[name])) == Msfp.parse(name)


def test_presets_are_the_published_ones():
    assert Msfp.parse("msfp12") == Msfp(8, 3, 16)
    assert Msfp.parse("msfp16") == Msfp(8, 7, 16)
    assert Msfp.parse("brainwave-ms-fp9") == Msfp(5, 3, 128)
    assert Msfp.parse("msfp12").bits_per_value == 4.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("msfp21", "did you mean 'msfp16'"),
        ("msfp<8,3>", "write one of msfp11"),
        ("msfp<8,3,0>", "box_size is 0"),
        ("msfp<9,3,16>", "exponent_bits is 9, but must be from 2 to 8"),
    ],
)
def test_other_text_is_refused(text, message):
    with pytest.raises(ConfigurationError, match=message):
        Msfp.parse(text)
