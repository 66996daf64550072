"""``ap_fixed<W,I,rounding,overflow>``: fixed-point numbers as Xilinx' HLS defines them (UG1399)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rounding: TypeAlias = Literal["RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV", "TRN", "TRN_ZERO"]
Overflow: TypeAlias = Literal["SAT", "SAT_ZERO", "SAT_SYM", "WRAP", "WRAP_SM"]


@dataclasses.dataclass(frozen=True, slots=True)
class FixedPoint:
    """A format: ``width`` bits, ``integer`` of them before the point, the sign included.

    Args:
        width: all bits.
        integer: bits before the point, the sign's included; may be negative or more than ``width``.
        is_signed: ``ap_fixed``, else ``ap_ufixed``.
        rounding: what happens to bits behind the last one.
        overflow: what happens to values beyond the ends.
    """

    width: int
    integer: int
    is_signed: bool = True
    rounding: Rounding = "TRN"
    overflow: Overflow = "WRAP"


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPointGrid:
    """A format for each value of a row, as HGQ2 learns them; arrays broadcast against the row's shape.

    Args:
        is_signed: boolean.
        integer: bits before the point, without the sign's.
        fraction: bits behind the point; a value with no bits at all is 0.
        rounding, overflow: of all.
    """

    is_signed: NDArray[np.bool_]
    integer: NDArray[Any]
    fraction: NDArray[Any]
    rounding: Rounding = "TRN"
    overflow: Overflow = "WRAP"
