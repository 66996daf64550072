"""Fixed-point formats against Xilinx' own ``ap_fixed`` and against the package ``quantizers``."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid, Overflow, Rounding
from tests.external.emulator.formats.ap_fixed_table import ApFixedTable

ROUNDINGS, OVERFLOWS = get_args(Rounding), get_args(Overflow)
SHAPES = [(8, 4, True), (1, 1, True), (6, -2, False)]
FINE = FixedPoint(40, 20)
FORMATS = [
    FixedPoint(width, integer, is_signed, rounding, overflow)
    for width, integer, is_signed in SHAPES
    for rounding in ROUNDINGS
    for overflow in OVERFLOWS
    if is_signed or overflow != "WRAP_SM"
]


@pytest.fixture(scope="module")
def ap_fixed(tmp_path_factory):
    return ApFixedTable(FORMATS, FINE, tmp_path_factory.mktemp("ap_fixed"))


def values_around(target: FixedPoint) -> np.ndarray:
    """Every quarter step over three times the range and next to it, random numbers of all sizes, huge ones."""
    rng = np.random.default_rng(12)
    reach = 3 * 2 ** min(target.width, 8)
    quarters = np.arange(-4 * reach, 4 * reach + 1) / 4
    beside = [np.nextafter(quarters, sign * np.inf) for sign in (-1, 1)]
    random = rng.normal(size=4000) * np.exp2(rng.uniform(-8, target.width + 4, 4000))
    huge = np.exp2(rng.uniform(40, 120, 200)) * rng.choice([-1, 1], 200)
    return np.concatenate([quarters, *beside, random, huge]) * target.step


@pytest.mark.parametrize("target", FORMATS, ids=str)
def test_equal_to_xilinx_for_numbers(ap_fixed, target):
    values = values_around(target)
    if target.overflow == "WRAP_SM":
        values = values[np.abs(values) < 2.0**30]
    np.testing.assert_array_equal(target.quantise(values), ap_fixed.convert(target, values))


@pytest.mark.parametrize("target", FORMATS, ids=str)
def test_equal_to_xilinx_for_fixed_point_numbers(ap_fixed, target):
    values = FINE.quantise(values_around(target))
    np.testing.assert_array_equal(target.quantise(values), ap_fixed.convert(target, values, is_from_fixed=True))


@pytest.mark.parametrize("overflow", ["WRAP", "SAT", "SAT_SYM"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@settings(max_examples=30, deadline=None)
@given(
    is_signed=st.booleans(),
    integer=st.integers(-4, 12),
    fraction=st.integers(-4, 12),
    numbers=st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=20),
)
def test_equal_to_quantizers(rounding, overflow, is_signed, integer, fraction, numbers):
    """``quantizers`` counts integer bits without the sign's; its values are multiples of 1/64 of a step here."""
    from quantizers import get_fixed_quantizer_np

    if integer + fraction < 1:
        return
    values = np.array(numbers) * 2.0 ** (-fraction - 6)
    golden = get_fixed_quantizer_np(rounding, overflow)(values, np.float64(is_signed), integer, fraction)
    target = FixedPoint(integer + fraction + is_signed, integer + is_signed, is_signed, rounding, overflow)
    np.testing.assert_array_equal(target.quantise(values), golden)
    grid = FixedPointGrid(np.array([is_signed]), np.array([integer]), np.array([fraction]), rounding, overflow)
    np.testing.assert_array_equal(grid.quantise(values[:, None])[:, 0], golden)


def test_a_tie_is_told_from_its_neighbours():
    target = FixedPoint(53, 53, rounding="RND")
    below = np.nextafter(0.5, 0)
    np.testing.assert_array_equal(target.quantise([below, 0.5, -0.5, -below]), [0, 1, 0, 0])
    odd = 2.0**52 - 1
    np.testing.assert_array_equal(target.quantise([odd - 0.5, odd]), [odd, odd])


def test_grid_is_its_formats_one_by_one():
    rng = np.random.default_rng(4)
    is_signed, integer, fraction = rng.integers(0, 2, 30) > 0, rng.integers(-2, 4, 30), rng.integers(-1, 5, 30)
    values = rng.normal(size=(200, 30)) * 8
    for rounding in ROUNDINGS:
        for overflow in ("WRAP", "SAT", "SAT_SYM", "SAT_ZERO"):
            grid = FixedPointGrid(is_signed, integer, fraction, rounding, overflow)
            found = grid.quantise(values)
            for i, width in enumerate(grid.width):
                if width == 0:
                    assert not found[:, i].any()
                    continue
                one = FixedPoint(int(width), int(integer[i] + is_signed[i]), bool(is_signed[i]), rounding, overflow)
                np.testing.assert_array_equal(found[:, i], one.quantise(values[:, i]))
                assert (grid.lowest[i], grid.highest[i]) == (one.lowest, one.highest)


def test_grid_of_one_format_knows_it():
    grid = FixedPointGrid(np.ones(3, bool), np.full(3, 5), np.full(3, 10), "RND", "SAT")
    assert grid.uniform() == FixedPoint(16, 6, rounding="RND", overflow="SAT")
    assert str(grid) == "ap_fixed<16,6,RND,SAT>"
    assert FixedPointGrid(np.ones(2, bool), np.array([1, 2]), np.zeros(2, int)).uniform() is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("ap_fixed<16,6>", "ap_fixed<16,6>"),
        ("ap_fixed<16,6,AP_RND_CONV,AP_SAT>", "ap_fixed<16,6,RND_CONV,SAT>"),
        ("fixed<16,6,RND,WRAP,0>", "ap_fixed<16,6,RND>"),
        ("ufixed< 8, 0, TRN, SAT >", "ap_ufixed<8,0,TRN,SAT>"),
        ("ap_fixed<6,-2>", "ap_fixed<6,-2>"),
        ("ap_int<8>", "ap_fixed<8,8>"),
        ("uint<4>", "ap_ufixed<4,4>"),
    ],
)
def test_formats_are_read_as_hls_and_hls4ml_write_them(text, canonical):
    assert str(FixedPoint.parse(text)) == canonical
    assert FixedPoint.parse(canonical) == FixedPoint.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ap_fixed<16>", "is no fixed-point format; write e.g."),
        ("float", "is no fixed-point format"),
        ("ap_fixed<16,6,RND_CNV>", "did you mean 'RND_CONV'"),
        ("ap_fixed<16,6,RND,SATURATE>", "no overflow mode 'SATURATE'"),
        ("ap_fixed<54,6>", "has 54 bits; the emulator knows formats of 1 to 53"),
        ("ap_fixed<0,0>", "has 0 bits"),
        ("ap_fixed<8,2,TRN,WRAP,1>", "keeps 1 saturation bits"),
        ("ap_ufixed<8,2,TRN,WRAP_SM>", "must be signed"),
    ],
)
def test_what_is_no_format_is_refused(text, message):
    with pytest.raises(ConfigurationError, match=message):
        FixedPoint.parse(text)


def test_range_and_step():
    target = FixedPoint(8, 3)
    assert (target.fraction, target.step, target.lowest, target.highest) == (5, 1 / 32, -4, 4 - 1 / 32)
    assert FixedPoint(8, 3, overflow="SAT_SYM").lowest == -4 + 1 / 32
    assert FixedPoint(8, 3, is_signed=False).highest == 8 - 1 / 32
