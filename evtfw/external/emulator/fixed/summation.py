"""Sums in an accumulator: each partial sum is rounded to its format, as ``acc += term`` does in HLS."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed import arithmetic
from evtfw.external.emulator.fixed.graph import GraphBuilder, Signal
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.formats.fixed_point import FixedPoint

MOST_ORDERED_TERMS: Final = 1024
"""Terms of a sum that must be made one by one."""

TOWARDS_ONE_SIDE: Final = ("TRN", "RND", "RND_MIN_INF")
"""Roundings that ask neither for the sign nor for what was there before: rounding a term is rounding the sum."""


def sums_in(
    graph: GraphBuilder,
    terms: Signal,
    accumulator: FixedPoint,
    *,
    layer: str,
    start: Signal | None = None,
    bounds: tuple[float, float] | None = None,
) -> Signal:
    """Return sums of terms, from the first to the last.

    Args:
        graph: to add nodes to.
        terms: rows of shape [sums, terms, channels].
        accumulator: what each partial sum is rounded to.
        layer: for messages.
        start: what the terms are added to, of a shape that broadcasts with [sums, channels]; None: 0. It has the
            accumulator's format.
        bounds: of every partial sum before it is rounded; None: those of the terms, times their number.

    Returns:
        Rows of shape [sums, channels], in the accumulator's format.

    Raises:
        ConfigurationError: they need more than 53 bits, or more additions than are reasonable.
    """
    count = terms.shape[1]
    low, high = bounds or (count * min(terms.lowest, 0.0), count * max(terms.highest, 0.0))
    is_finer = arithmetic.steps_of(terms) <= accumulator.fraction
    fits = is_finer and accumulator.lowest <= low and high <= accumulator.highest
    if not fits and not (accumulator.overflow == "WRAP" and (is_finer or accumulator.rounding in TOWARDS_ONE_SIDE)):
        return _one_by_one(graph, terms, accumulator, layer, start)
    if not is_finer:
        terms = rounded_to_step(graph, terms, accumulator, layer=layer)
        low, high = low - count * accumulator.step, high + count * accumulator.step
    magnitude = max(-low, high, terms.magnitude)
    dtype = graph.exact_dtype(layer, magnitude, arithmetic.steps_of(terms), at_least=terms.dtype)
    name = graph.node("ReduceSum", [graph.cast(terms, dtype).name, graph.constant([2], np.int64)], keepdims=0)
    shape = (terms.shape[0], terms.shape[2])
    total = dataclasses.replace(terms, name=name, shape=shape, lowest=low, highest=high, dtype=dtype, format=None)
    if start is not None:
        total = dataclasses.replace(arithmetic.add(graph, total, start, layer=layer), lowest=low, highest=high)
    return quantise(graph, total, accumulator, layer=layer)


def rounded_to_step(graph: GraphBuilder, signal: Signal, target: FixedPoint, *, layer: str) -> Signal:
    """Return a signal rounded to a format's step, however large it is."""
    wide = wide_format(signal.magnitude + target.step, target.fraction)
    return quantise(graph, signal, dataclasses.replace(wide, rounding=target.rounding), layer=layer)


def wide_format(magnitude: float, fraction: int) -> FixedPoint:
    """Return a signed format for values up to ``magnitude``."""
    integer = max(math.ceil(math.log2(max(magnitude, 2.0**-fraction))) + 2, 1 - fraction)
    return FixedPoint(integer + fraction, integer)


def _one_by_one(
    graph: GraphBuilder, terms: Signal, accumulator: FixedPoint, layer: str, start: Signal | None
) -> Signal:
    """Return sums whose order matters: an addition and a rounding for each term."""
    if terms.shape[1] > MOST_ORDERED_TERMS:
        raise ConfigurationError(
            f"{graph.name}: layer '{layer}' adds {terms.shape[1]} values in an accumulator {accumulator} that can "
            f"overflow, in an order that matters; the emulator does so for up to {MOST_ORDERED_TERMS}. Let the "
            f"accumulator wrap, or make it wider"
        )
    total = start
    for place in range(terms.shape[1]):
        name = graph.node("Gather", [terms.name, graph.constant(place, np.int64)], axis=2)
        term = dataclasses.replace(terms, name=name, shape=(terms.shape[0], terms.shape[2]), format=None)
        exact = term if total is None else arithmetic.add(graph, total, term, layer=layer)
        total = quantise(graph, exact, accumulator, layer=layer)
    return total if total is not None else terms
