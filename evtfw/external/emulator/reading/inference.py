"""hls4ml's rules for precisions that are left to it (``auto``).

Source of every formula: hls4ml 1.3, ``hls4ml/model/optimizer/passes/infer_precision.py``. The results hold every value
that the inputs can make, unless a configuration names a ``maximum``. Rounding and overflow of inferred formats are the
defaults, TRN and WRAP, except where tensors are joined.
"""

from __future__ import annotations

import dataclasses
import math

from evtfw.external.emulator.formats.fixed_point import FixedPoint

NO_BIAS = FixedPoint(1, 1, is_signed=False)
"""hls4ml's format of biases that a layer does not have."""


def product_sum(
    source: FixedPoint, weight: FixedPoint, bias: FixedPoint, terms: int, maximum: FixedPoint | None
) -> FixedPoint:
    """Return the accumulator and result of a sum of products and a bias: dense layers and convolutions.

    Args:
        source, weight, bias: formats of what is multiplied and added.
        terms: products in the sum.
        maximum: width and integer bits at most; None: no limit.
    """
    growth = math.ceil(math.log2(terms))
    products = _wide(weight.width + source.width + growth, weight.integer + source.integer + growth)
    return _with_shift(products, weight.is_signed or source.is_signed, bias, maximum)


def scaled(source: FixedPoint, scale: FixedPoint, shift: FixedPoint, maximum: FixedPoint | None) -> FixedPoint:
    """Return the result of one product and a shift: batch normalisation."""
    product = _wide(source.width + scale.width, source.integer + scale.integer)
    return _with_shift(product, scale.is_signed or source.is_signed, shift, maximum)


def _wide(width: int, integer: int) -> tuple[int, int]:
    """Return integer and fraction bits of a format that may be wider than any that is computed with."""
    return integer, width - integer


def _with_shift(value: tuple[int, int], is_signed: bool, shift: FixedPoint, maximum: FixedPoint | None) -> FixedPoint:
    integer, fraction = value
    integer = 1 + max(
        integer + (shift.is_signed and not is_signed), shift.integer + (is_signed and not shift.is_signed)
    )
    return _limited(integer + max(fraction, shift.fraction), integer, is_signed or shift.is_signed, maximum)


def _limited(width: int, integer: int, is_signed: bool, maximum: FixedPoint | None) -> FixedPoint:
    if maximum is not None:
        width, integer = min(width, maximum.width), min(integer, maximum.integer)
    return FixedPoint(width, integer, is_signed)


def added(one: FixedPoint, two: FixedPoint, maximum: FixedPoint | None, *, is_difference: bool) -> FixedPoint:
    """Return the result of a sum or difference of two tensors."""
    integer = 1 + max(
        one.integer + (two.is_signed and not one.is_signed), two.integer + (one.is_signed and not two.is_signed)
    )
    is_signed = one.is_signed or two.is_signed or is_difference
    return _limited(integer + max(one.fraction, two.fraction), integer, is_signed, maximum)


def multiplied(one: FixedPoint, two: FixedPoint, maximum: FixedPoint | None) -> FixedPoint:
    """Return the result of a product of two tensors."""
    return _limited(one.width + two.width, one.integer + two.integer, one.is_signed or two.is_signed, maximum)


def joined(one: FixedPoint, two: FixedPoint, maximum: FixedPoint | None) -> FixedPoint:
    """Return the result of two tensors joined."""
    if one == two:
        return one
    is_signed = one.is_signed or two.is_signed
    integers = [format_.integer + (is_signed and not format_.is_signed) for format_ in (one, two)]
    wide = _limited(max(one.fraction, two.fraction) + max(integers), max(integers), is_signed, maximum)
    return dataclasses.replace(
        wide,
        rounding=one.rounding if one.rounding != "TRN" else two.rounding,
        overflow=one.overflow if one.overflow != "WRAP" else two.overflow,
    )


def averaged(source: FixedPoint, terms: int) -> FixedPoint:
    """Return the accumulator of a mean; its result is as its input."""
    growth = math.ceil(math.log2(terms))
    return FixedPoint(source.width + 2 * growth, source.integer + growth, source.is_signed)


def constant(value: float, most_bits: int = 8) -> FixedPoint:
    """Return the format of a layer's only parameter, such as the slope of a leaky ReLU.

    Args:
        value: the parameter.
        most_bits: of it, without the sign.
    """
    if value == 0:
        return NO_BIAS
    is_signed = value < 0
    mantissa, exponent = math.frexp(abs(value))
    # math.frexp gives a mantissa in [0.5, 1); a negative power of two needs one integer bit less.
    integer = exponent - (is_signed and mantissa == 0.5)
    fraction = -_trailing_power(value)
    return FixedPoint(min(is_signed + integer + fraction, is_signed + most_bits), is_signed + integer, is_signed)


def _trailing_power(value: float) -> int:
    """Return the largest power of two that divides a number."""
    numerator, denominator = value.as_integer_ratio()
    return (numerator & -numerator).bit_length() - 1 - (denominator.bit_length() - 1)
