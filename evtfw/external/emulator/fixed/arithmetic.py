"""Exact sums, differences and products of two signals: nothing is rounded, bounds and steps grow."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.dense import finest_fraction
from evtfw.external.emulator.fixed.graph import GraphBuilder, Signal
from evtfw.external.emulator.formats.fixed_point import Floats
from evtfw.external.emulator.network import Shape


def add(graph: GraphBuilder, one: Signal, other: Signal, *, layer: str) -> Signal:
    """Return the sum.

    Args:
        graph: to add nodes to.
        one, other: of shapes that broadcast.
        layer: for messages.

    Raises:
        ConfigurationError: its values need more than 53 bits.
    """
    lowest, highest = one.lowest + other.lowest, one.highest + other.highest
    return _term_by_term(graph, "Add", one, other, lowest, highest, layer)


def subtract(graph: GraphBuilder, one: Signal, other: Signal, *, layer: str) -> Signal:
    """Return ``one - other``; see `add`."""
    lowest, highest = one.lowest - other.highest, one.highest - other.lowest
    return _term_by_term(graph, "Sub", one, other, lowest, highest, layer)


def multiply(graph: GraphBuilder, one: Signal, other: Signal, *, layer: str) -> Signal:
    """Return the product; see `add`."""
    ends = [a * b for a, b in itertools.product((one.lowest, one.highest), (other.lowest, other.highest))]
    fraction = steps_of(one) + steps_of(other)
    magnitude = max(map(abs, [*ends, one.magnitude, other.magnitude]))
    dtype = graph.exact_dtype(layer, magnitude, fraction, at_least=max(one.dtype, other.dtype, key=_size))
    one, other = graph.cast(one, dtype), graph.cast(other, dtype)
    return Signal(
        graph.node("Mul", [one.name, other.name]),
        broadcast(graph, one, other, layer=layer),
        one.scale + other.scale,
        fraction,
        min(ends),
        max(ends),
        dtype,
    )


def parameters(graph: GraphBuilder, values: Floats, name: str) -> Signal:
    """Return a constant as a signal, in the narrowest type that holds it; its shape is that of ``values``."""
    fraction, magnitude = finest_fraction(values), float(np.abs(values).max(initial=0))
    dtype = graph.exact_dtype(name, magnitude, fraction)
    constant = graph.constant(values, dtype, name=name)
    return Signal(constant, values.shape, 0, fraction, float(values.min()), float(values.max()), dtype)


def with_scale(graph: GraphBuilder, signal: Signal, scale: int) -> Signal:
    """Return a signal whose tensor holds ``value * 2**scale``; the values stay."""
    if signal.scale == scale:
        return signal
    factor = graph.constant(2.0 ** (scale - signal.scale), signal.dtype)
    return dataclasses.replace(signal, name=graph.node("Mul", [signal.name, factor]), scale=scale)


def steps_of(signal: Signal) -> int:
    """Return the fraction of a signal that was rounded before, as all inputs of layers are."""
    if signal.fraction is None:
        raise ValueError(f"{signal.name} holds any real numbers")
    return signal.fraction


def broadcast(graph: GraphBuilder, one: Signal, other: Signal, *, layer: str) -> Shape:
    """Return the shape of rows that two signals have together.

    Raises:
        ConfigurationError: their rows do not fit each other.
    """
    if len(one.shape) == len(other.shape):
        try:
            return np.broadcast_shapes(one.shape, other.shape)
        except ValueError:
            pass
    raise ConfigurationError(
        f"{graph.name}: layer '{layer}' merges rows of shapes {one.shape} and {other.shape}; they must be the same, or "
        f"1 where they differ"
    )


def _term_by_term(
    graph: GraphBuilder, operator: str, one: Signal, other: Signal, lowest: float, highest: float, layer: str
) -> Signal:
    """Return a sum or difference with the bounds given."""
    shape = broadcast(graph, one, other, layer=layer)
    fraction = max(steps_of(one), steps_of(other))
    magnitude = max(-lowest, highest, one.magnitude, other.magnitude)
    dtype = graph.exact_dtype(layer, magnitude, fraction, at_least=max(one.dtype, other.dtype, key=_size))
    one, other = graph.cast(one, dtype), with_scale(graph, graph.cast(other, dtype), one.scale)
    name = graph.node(operator, [one.name, other.name])
    return Signal(name, shape, one.scale, fraction, lowest, highest, dtype)


def _size(dtype: np.dtype[np.generic]) -> int:
    return dtype.itemsize
