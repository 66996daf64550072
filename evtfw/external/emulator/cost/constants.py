"""Multiplications by constants: how many signed digits they have, and what that makes of them."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

MANY_DIGITS = 4
"""Signed digits from which on a multiplication by a wide constant takes a DSP; see `SOURCES` "csd-dsp"."""
WIDE_BITS = 10
"""Bits of an operand from which on tools take DSPs for multiplications."""
_MANTISSA_BITS = 53


def signed_digits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of non-zero digits in canonical signed-digit form (G. W. Reitwiesner, 1960).

    It does not depend on the position of the point: 0 for 0, 1 for powers of two, 2 for 3 = 4 - 1.

    >>> signed_digits(np.array([0.0, 0.5, -3.0, 0.375, 7.0, 11.0]))
    array([0, 1, 2, 2, 2, 3])
    """
    mantissa = np.abs(np.frexp(values)[0] * 2.0**_MANTISSA_BITS).astype(np.uint64)
    return np.asarray(np.bitwise_count((3 * mantissa) ^ mantissa), np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class Constants:
    """The weights of a layer as the hardware sees them, those that serve all positions once.

    Args:
        size: how many, zeros included.
        non_zero: those that are not 0.
        shifts: those that are a power of two; they need no multiplier.
        digits: signed digits of all together.
        many: those with `MANY_DIGITS` signed digits or more.
        digits_of_many: signed digits of those.
        inputs: of the sum that has most.
        outputs: sums.
    """

    size: int
    non_zero: int
    shifts: int
    digits: int
    many: int
    digits_of_many: int
    inputs: int
    outputs: int

    @classmethod
    def of(cls, kernel: NDArray[np.float64]) -> Constants:
        """Count them.

        Args:
            kernel: [inputs, outputs].
        """
        digits = signed_digits(kernel)
        many = digits >= MANY_DIGITS
        return cls(
            kernel.size,
            int((digits > 0).sum()),
            int((digits == 1).sum()),
            int(digits.sum()),
            int(many.sum()),
            int(digits[many].sum()),
            max(1, int((digits > 0).sum(axis=0).max(initial=0))),
            kernel.shape[1],
        )

    @classmethod
    def unknown(cls, size: int, outputs: int, bits: int) -> Constants:
        """Assume random values of so many bits: (bits + 1) / 3 digits each, all alike (Reitwiesner, 1960)."""
        mean = (bits + 1) / 3
        many = size if mean >= MANY_DIGITS else 0
        digits = round(mean * size)
        return cls(size, size, 0, digits, many, round(mean * many), max(1, size // max(1, outputs)), outputs)


def as_kernel(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights as [inputs, outputs]: a matrix is one already, a convolution's have their outputs first."""
    if weights.ndim < 2:
        return weights.reshape(-1, 1)
    return weights if weights.ndim == 2 else weights.reshape(weights.shape[0], -1).T
