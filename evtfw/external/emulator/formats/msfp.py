"""Block floating point as Microsoft's FPGAs have it: a box of values shares one exponent, each has a sign and mantissa.

MSFP (Darvish Rouhani et al., "Pushing the limits of narrow precision inferencing at cloud scale with Microsoft
floating point", NeurIPS 2020) has an exponent of 8 bits and boxes of 16; ms-fp8 and ms-fp9 of Project Brainwave (Fowers
et al., "A configurable cloud-scale DNN processor for real-time AI", ISCA 2018) one of 5 bits and boxes as long as the
vectors of the hardware, 128 values.
"""

from __future__ import annotations

import dataclasses
import re
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError, nearest

Float32s: TypeAlias = NDArray[np.float32]

LARGEST_EXPONENT: Final = 102
"""Larger shared exponents saturate: float32, in which boxes are rounded and summed, has no room for them."""

_WRITTEN: Final = re.compile(r"msfp<\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*>")
_LIMITS: Final = {"exponent_bits": (2, 8), "mantissa_bits": (1, 15), "box_size": (1, 4096)}


@dataclasses.dataclass(frozen=True, slots=True)
class Msfp:
    """A format.

    The shared exponent is that of the box's largest magnitude, ``floor(log2(max |x|))``, clipped to what its bits hold
    with a bias of ``2**(exponent_bits - 1) - 1``; none of its codes is reserved. A value is a sign and
    ``mantissa_bits`` bits without a hidden one, in steps of ``2**(exponent + 1 - mantissa_bits)``, rounded to nearest
    even; what rounds beyond the largest mantissa, or lies beyond the largest exponent, saturates. What is smaller than
    half the smallest step becomes 0.

    Args:
        exponent_bits: of the exponent that a box shares.
        mantissa_bits: of each value, without the sign.
        box_size: values that share an exponent. They lie side by side along the axis that products are summed over;
            the last box of an axis may be shorter.
    """

    exponent_bits: int
    mantissa_bits: int
    box_size: int

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _LIMITS.items():
            if not lowest <= getattr(self, name) <= highest:
                problem = f"'{self}': {name} is {getattr(self, name)}, but must be from {lowest} to {highest}"
                raise ConfigurationError(problem)

    @classmethod
    def parse(cls, text: str) -> Msfp:
        """Read ``msfp<exponent bits,mantissa bits,box size>`` or the name of one of `PRESETS`.

        >>> Msfp.parse("msfp12")
        Msfp(exponent_bits=8, mantissa_bits=3, box_size=16)
        >>> str(Msfp.parse("msfp<8,3,16>"))
        'msfp<8,3,16>'

        Raises:
            ConfigurationError: it is neither.
        """
        if text in PRESETS:
            return PRESETS[text]
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise ConfigurationError(
                f"there is no number format '{text}'{nearest(text, PRESETS)}; write one of {', '.join(PRESETS)}, or "
                "msfp<exponent bits,mantissa bits,box size>, e.g. msfp<8,3,16>"
            )
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"msfp<{self.exponent_bits},{self.mantissa_bits},{self.box_size}>"

    @property
    def lowest_exponent(self) -> int:
        """Smallest shared exponent; boxes of smaller values are rounded in its steps."""
        return 1 - (1 << (self.exponent_bits - 1))

    @property
    def highest_exponent(self) -> int:
        """Largest shared exponent."""
        return min(1 << (self.exponent_bits - 1), LARGEST_EXPONENT)

    @property
    def bits_per_value(self) -> float:
        """Bits that a value takes, with its share of the exponent."""
        return 1 + self.mantissa_bits + self.exponent_bits / self.box_size

    def quantise(self, values: NDArray[Any], axis: int) -> Float32s:
        """Return values as they are after rounding.

        Args:
            values: of any shape, float32 or what converts to it.
            axis: along which boxes lie, from its first value on.
        """
        last = np.moveaxis(np.asarray(values, np.float32), axis, -1)
        length = last.shape[-1]
        box = min(self.box_size, max(length, 1))
        padded = np.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, -length % box)])
        boxes = padded.reshape(*last.shape[:-1], -1, box)
        rounded = self._quantise_boxes(boxes).reshape(padded.shape)[..., :length]
        return np.ascontiguousarray(np.moveaxis(rounded, -1, axis))

    def _quantise_boxes(self, boxes: Float32s) -> Float32s:
        """Round boxes that lie along the last axis."""
        largest = np.abs(boxes).max(axis=-1, keepdims=True)
        exponent = np.frexp(largest)[1] - 1  # exact at powers of two, and for denormal numbers
        exponent = np.where(largest == 0, self.lowest_exponent, exponent)
        exponent = np.where(np.isinf(largest), self.highest_exponent, exponent)
        exponent = np.clip(exponent, self.lowest_exponent, self.highest_exponent)
        steps = np.ldexp(boxes.astype(np.float64), self.mantissa_bits - 1 - exponent)
        mantissa = np.clip(np.rint(steps), 1 - 2**self.mantissa_bits, 2**self.mantissa_bits - 1)
        rounded: Float32s = np.ldexp(mantissa, exponent + 1 - self.mantissa_bits).astype(np.float32)
        return rounded


PRESETS: Final = MappingProxyType(
    {
        **{f"msfp{bits}": Msfp(8, bits - 9, 16) for bits in range(11, 17)},
        "brainwave-ms-fp8": Msfp(5, 2, 128),
        "brainwave-ms-fp9": Msfp(5, 3, 128),
        "brainwave-cnn": Msfp(5, 5, 128),
    }
)
"""Published formats. ``msfpN``: sign, N - 9 bits of mantissa, and 8 of exponent for a box of 16 (NeurIPS 2020). Project
Brainwave: 5 bits of exponent for a vector of 128, and 2 or 3 bits of mantissa, with which ms-fp8 and ms-fp9 count 8 and
9 bits (Hot Chips 2017); ``brainwave-cnn``: 5 bits of mantissa, as its ResNet-50 on an Arria 10 has (ISCA 2018)."""
