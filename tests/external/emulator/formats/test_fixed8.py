"""8-bit scales, and how the format of a network is written."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.fixed8 import Fixed8, Scale, smallest_exponents

scales = st.builds(Scale, st.integers(-20, 20), st.booleans())


@given(scales, hnp.arrays(np.float64, 30, elements=st.floats(-1e6, 1e6)))
def test_values_are_those_of_the_same_fixed_point(scale, values):
    np.testing.assert_array_equal(scale.quantise(values), scale.format.quantise(values))


@given(st.floats(1e-12, 1e12), st.sampled_from([127, 128, 255]))
def test_the_smallest_exponent_is_just_enough(magnitude, steps):
    exponent = int(smallest_exponents(np.array(magnitude), steps))
    assert magnitude <= steps * 2.0**exponent
    assert magnitude > steps * 2.0 ** (exponent - 1)


@pytest.mark.parametrize("is_signed", [False, True])
def test_ends(is_signed):
    scale = Scale(-5, is_signed)
    assert scale.quantise(np.array([-1e9, 1e9])).tolist() == [scale.lowest, scale.highest]
    assert str(scale.format) == f"ap_{'' if is_signed else 'u'}fixed<8,3,RND_CONV,SAT>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fixed8", Fixed8()),
        ("fixed8<per_tensor>", Fixed8(per_channel=False)),
        ("fixed8<per_channel,99.9>", Fixed8(coverage_percent=99.9)),
        ("fixed8<99.9, per_tensor>", Fixed8(per_channel=False, coverage_percent=99.9)),
    ],
)
def test_formats_can_be_written(text, expected):
    assert Fixed8.parse(text) == expected
    assert Fixed8.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed9", "no number format 'fixed9'"),
        ("fixed8<per_channel", "write fixed8, or e.g."),
        ("fixed8<per_tensors>", "did you mean 'per_tensor'"),
        ("fixed8<120>", "at most 100 percent"),
    ],
)
def test_other_text_is_refused(text, message):
    with pytest.raises(ConfigurationError, match=message):
        Fixed8.parse(text)
