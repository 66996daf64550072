"""8-bit fixed point: integers of 8 bits and scales that are powers of two, as FPGA overlays for large networks have.

The arithmetic: weights are int8, values between layers uint8 or int8, biases int32 in the scale of the products; sums
are exact in int32, then shifted, rounded to nearest even and saturated to 8 bits.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.formats.fixed_point import FixedPoint

LOWEST_EXPONENT: Final = -60
HIGHEST_EXPONENT: Final = 60
"""Of steps; their products must stay normal numbers of float32."""
_SCALES: Final = ("per_channel", "per_tensor")


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed8:
    """A format of a network.

    Args:
        per_channel: a scale for the weights of each output channel; else one for all weights of a layer.
        coverage_percent: how many of the calibration's values a tensor's range must hold; the others saturate. The
            range is then rounded up to a power of two.
    """

    per_channel: bool = True
    coverage_percent: float = 100.0

    def __post_init__(self) -> None:
        if not 50 < self.coverage_percent <= 100:
            problem = f"'{self}': a range must cover more than 50 and at most 100 percent of the values"
            raise ConfigurationError(problem)

    @classmethod
    def parse(cls, text: str) -> Fixed8:
        """Read ``fixed8``, or with ``per_tensor`` or ``per_channel`` and a coverage in percent.

        >>> Fixed8.parse("fixed8")
        Fixed8(per_channel=True, coverage_percent=100.0)
        >>> str(Fixed8.parse("fixed8<per_tensor,99.99>"))
        'fixed8<per_tensor,99.99>'

        Raises:
            ConfigurationError: it is something else.
        """
        name, bracket, rest = text.strip().partition("<")
        if name != "fixed8" or (bracket and not rest.endswith(">")):
            problem = f"there is no number format '{text}'; write fixed8, or e.g. fixed8<per_tensor,99.99>"
            raise ConfigurationError(problem)
        chosen: dict[str, Any] = {}
        for word in filter(None, map(str.strip, rest.removesuffix(">").split(","))):
            if word in _SCALES:
                chosen["per_channel"] = word == "per_channel"
            elif word.replace(".", "", 1).isdecimal():
                chosen["coverage_percent"] = float(word)
            else:
                raise ConfigurationError(
                    f"number format '{text}': '{word}' is neither of {', '.join(_SCALES)}, nor a coverage in percent"
                    f"{nearest(word, _SCALES)}"
                )
        return cls(**chosen)

    def __str__(self) -> str:
        scales = [] if self.per_channel else ["per_tensor"]
        coverage = [] if self.coverage_percent == 100 else [f"{self.coverage_percent:g}"]
        inner = ",".join(scales + coverage)
        return f"fixed8<{inner}>" if inner else "fixed8"


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """How integers of 8 bits stand for the values of one tensor.

    Args:
        exponent: a step is ``2**exponent``.
        is_signed: from -128 to 127 steps; else from 0 to 255.
    """

    exponent: int
    is_signed: bool

    @property
    def step(self) -> float:
        """Value of the last bit."""
        return float(2.0**self.exponent)

    @property
    def lowest(self) -> float:
        """Smallest value."""
        return -128 * self.step if self.is_signed else 0.0

    @property
    def highest(self) -> float:
        """Largest value."""
        return (127 if self.is_signed else 255) * self.step

    @property
    def format(self) -> FixedPoint:
        """The same as ``ap_fixed``."""
        return FixedPoint(8, 8 + self.exponent, self.is_signed, "RND_CONV", "SAT")

    def quantise(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return values as they are after rounding to nearest even and saturation."""
        steps = np.rint(np.asarray(values, np.float64) / self.step)
        clipped: NDArray[np.float64] = np.clip(steps * self.step, self.lowest, self.highest)
        return clipped


def smallest_exponents(magnitudes: NDArray[Any], steps: int) -> NDArray[np.int64]:
    """Return, for each magnitude, the smallest exponent with which so many steps reach it; of 0 a very small one."""
    mantissa, exponent = np.frexp(np.asarray(magnitudes, np.float64) / steps)
    return np.where(mantissa == 0.5, exponent - 1, exponent).astype(np.int64)
