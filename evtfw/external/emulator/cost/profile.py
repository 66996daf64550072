"""Ranges of values and weights layer by layer, what a format makes of them, and the format that they need."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.external.emulator.cost.traces import Trace
from evtfw.external.emulator.fixed.graph import Format
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_MOST_WIDTH = 53


@dataclasses.dataclass(frozen=True, slots=True)
class Distribution:
    """Numbers and what became of them.

    Args:
        lowest, highest: of them.
        magnitudes: `QUANTILES` of the absolute values of those that are not 0; empty if all are.
        zeros: share that is 0.
        lost: share that is not 0, and is 0 after rounding.
        beyond: share beyond the ends of the format.
        rms: root mean square.
        error_rms, error_max: of rounded minus exact.
        format: that they were rounded to.
        step, reach: of the format: its finest step and its largest value; 0 if it has one for each value.
        advice: format that they need.
    """

    lowest: float
    highest: float
    magnitudes: tuple[float, ...]
    zeros: float
    lost: float
    beyond: float
    rms: float
    error_rms: float
    error_max: float
    format: str
    step: float
    reach: float
    advice: FixedPoint

    @property
    def relative_error(self) -> float:
        """Error over the size of the values, root mean squares."""
        return self.error_rms / self.rms if self.rms else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class LayerProfile:
    """A layer, or an input of the network.

    Args:
        name: of it.
        kind: as in the card; ``input``.
        values: that it makes.
        weights: that it has, if any.
    """

    name: str
    kind: str
    values: Distribution
    weights: Distribution | None


def profile_of(traced: Trace, tolerance: float) -> LayerProfile:
    """Return the profile of a layer.

    Args:
        traced: what it made of events.
        tolerance: rounding error that the advised formats may have, relative to the values.
    """
    kind = "input" if traced.layer is None else traced.layer.kind
    values = distribution(traced.exact, traced.rounded, traced.formats.result, tolerance)
    weights = None if traced.weight is None else distribution(*traced.weight, traced.formats.weight, tolerance)
    return LayerProfile(traced.name, kind, values, weights)


def distribution(exact: NDArray[Any], rounded: NDArray[Any], form: Format | None, tolerance: float) -> Distribution:
    """Return what there is to say of numbers and their rounded selves.

    Args:
        exact, rounded: of the same shape.
        form: to which they were rounded.
        tolerance: as for `advised`.
    """
    exact, rounded = np.asarray(exact, np.float64).ravel(), np.asarray(rounded, np.float64).ravel()
    magnitudes = np.abs(exact[exact != 0])
    rms = float(np.sqrt(np.mean(exact**2))) if exact.size else 0.0
    error = rounded - exact
    step, reach, beyond = _extent(form, exact)
    return Distribution(
        lowest=float(exact.min(initial=math.inf)),
        highest=float(exact.max(initial=-math.inf)),
        magnitudes=tuple(np.quantile(magnitudes, QUANTILES).tolist()) if magnitudes.size else (),
        zeros=float(np.mean(exact == 0)),
        lost=float(np.mean((exact != 0) & (rounded == 0))),
        beyond=beyond,
        rms=rms,
        error_rms=float(np.sqrt(np.mean(error**2))),
        error_max=float(np.abs(error).max(initial=0.0)),
        format="for each value" if isinstance(form, FixedPointGrid) else str(form or "as it is"),
        step=step,
        reach=reach,
        advice=advised(float(exact.min(initial=0.0)), float(exact.max(initial=0.0)), rms, tolerance),
    )


def _extent(form: Format | None, exact: NDArray[np.float64]) -> tuple[float, float, float]:
    if not isinstance(form, FixedPoint):
        return 0.0, 0.0, 0.0
    beyond = np.mean((exact < form.lowest - form.step / 2) | (exact > form.highest + form.step / 2))
    return form.step, max(form.highest, -form.lowest), float(beyond)


def advised(lowest: float, highest: float, rms: float, tolerance: float) -> FixedPoint:
    """Return the narrowest format that holds all values, and rounds them no worse than allowed.

    Rounding to a step makes an error of step / sqrt(12), root mean square (W. R. Bennett, 1948).

    Args:
        lowest, highest: of the values.
        rms: of the values.
        tolerance: allowed error relative to ``rms``.

    >>> str(advised(-3.2, 2.9, 1.0, 0.01))
    'ap_fixed<8,3,RND>'
    >>> str(advised(0.0, 0.99, 0.5, 0.01))
    'ap_ufixed<6,0,RND>'
    """
    is_signed = lowest < 0
    fraction = math.ceil(-math.log2(tolerance * rms * math.sqrt(12))) if rms else 1
    step = 2.0**-fraction
    above = math.floor(math.log2(max(highest, 0.0) + step / 2)) + 1
    below = math.ceil(math.log2(-lowest)) if is_signed else above
    integer = max(above, below) + is_signed
    width = min(_MOST_WIDTH, max(1, integer + fraction))
    return FixedPoint(width, integer, is_signed, rounding="RND")
