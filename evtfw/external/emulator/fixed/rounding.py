"""ONNX nodes that round to a fixed-point format, with the semantics of `FixedPoint.quantise`, bit for bit.

Each step looks at the bounds of its signal first and adds only the nodes that can make a difference.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed.graph import (
    FLOAT32,
    FLOAT64,
    SIGNIFICAND_BITS,
    Format,
    GraphBuilder,
    Signal,
    exact_bits,
)
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid, Rounding, rounded
from evtfw.external.emulator.network import Layer, Quantise


def quantise(graph: GraphBuilder, signal: Signal, target: Format, *, layer: str) -> Signal:
    """Round a signal to a format.

    Args:
        graph: gets the nodes.
        signal: exact values; ``scale`` is free, but equal to the target's fraction it saves a node.
        target: one format, or one for each value of a row.
        layer: name of the layer, for messages.

    Returns:
        The rounded signal; its scale is the target's number of bits behind the point, so it holds integers. Infinite
        inputs of the network become the ends where the format saturates; NaN, and infinity where it wraps, have no
        meaning.
    """
    if isinstance(target, FixedPointGrid):
        same = target.uniform()
        if same is None:
            return _on_grid(graph, signal, target, layer)
        target = same
    is_raw = signal.fraction is None and signal.dtype == FLOAT32
    if is_raw and target.is_signed and (target.rounding, target.overflow) == ("TRN", "WRAP"):
        return _raw_wrapped(graph, signal, target)
    steps = _Steps(graph, _prepared(graph, signal, target, target.fraction, target.width), target.rounding)
    steps.scale_to(target.fraction, 2.0 ** (target.fraction - signal.scale))
    steps.round(target.fraction, target.fraction)
    ends = (target.lowest * 2.0**target.fraction, target.highest * 2.0**target.fraction)
    steps.bring_between(np.float64(ends[0]), np.float64(ends[1]), target.overflow)
    return steps.finish(target.fraction, target)


def nudge(target: FixedPoint, fraction: int) -> float | None:
    """Return what makes rounding down of multiples of ``2**-fraction``, if added to them, the target's rounding.

    None: nothing does, as ties or signs count.
    """
    if fraction <= target.fraction or target.rounding == "TRN":
        return 0.0
    half = {"RND": target.step / 2, "RND_MIN_INF": target.step / 2 - 2.0**-fraction}
    return half.get(target.rounding)


def wrapped_nudged(graph: GraphBuilder, periods: str, target: FixedPoint, dtype: np.dtype[Any]) -> Signal:
    """Round down and wrap: a value's whole periods fall away, what is left is cut.

    Args:
        graph: gets the nodes.
        periods: values (nudged) over the target's range ``2**integer``; those of a signed target are a little more
            still, by less than their finest step, so that none lies halfway between two periods.
        target: wraps.
        dtype: of the tensor.

    Returns:
        A signal without shape.
    """
    whole = graph.node("Round" if target.is_signed else "Floor", [periods])
    rest = graph.node("Sub", [periods, whole])
    steps = graph.node("Mul", [rest, graph.constant(2.0**target.width, dtype)])
    name = graph.node("Floor", [steps])
    return Signal(name, (), target.fraction, target.fraction, target.lowest, target.highest, dtype, target)


def _raw_wrapped(graph: GraphBuilder, signal: Signal, target: FixedPoint) -> Signal:
    """Round float32 numbers of any size down and wrap, in float64, which holds all steps exactly.

    Adding a half is exact but for numbers so small or large that it does not matter: the former stay near the half,
    the latter are even.
    """
    wide = graph.cast(signal, FLOAT64)
    periods = graph.node("Mul", [wide.name, graph.constant(2.0 ** -(target.integer + signal.scale), FLOAT64)])
    whole = graph.node("Floor", [graph.node("Add", [periods, graph.constant(0.5, FLOAT64)])])
    rest = graph.node("Sub", [periods, whole])
    name = graph.node("Floor", [graph.node("Mul", [rest, graph.constant(2.0**target.width, FLOAT64)])])
    ends = target.lowest, target.highest
    return Signal(name, signal.shape, target.fraction, target.fraction, *ends, FLOAT64, target)


def write_quantise(layer: Quantise, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write rounding that the source asks for itself; its own format counts."""
    source = graph.signals[layer.inputs[0]]
    graph.signals[layer.output] = quantise(graph, source, layer.format, layer=layer.name)
    return layer_card(layer, dataclasses.replace(formats, result=layer.format), source)


WRITERS: Final[dict[type[Layer], Any]] = {Quantise: write_quantise}


def _on_grid(graph: GraphBuilder, signal: Signal, target: FixedPointGrid, layer: str) -> Signal:
    has_bits = target.width > 0
    fractions = np.where(has_bits, target.fraction, int(target.fraction.min(initial=0)))
    finest, widest = int(fractions.max(initial=0)), int(target.width.max(initial=1))
    steps = _Steps(graph, _prepared(graph, signal, target, finest, widest), target.rounding)
    steps.scale_to(finest, np.ldexp(1.0, fractions - signal.scale))
    steps.round(int(fractions.min(initial=finest)), finest)
    steps.bring_between(*target.ends(), target.overflow)
    magnitude = float(np.max(np.maximum(-target.lowest, target.highest), initial=0))
    steps.widen(graph.exact_dtype(layer, magnitude, finest, at_least=steps.signal.dtype))
    steps.scale_to(finest, np.where(has_bits, np.ldexp(1.0, finest - fractions), 0.0))
    done = steps.finish(finest, target)
    return dataclasses.replace(done, lowest=float(target.lowest.min()), highest=float(target.highest.max()))


def _prepared(graph: GraphBuilder, signal: Signal, target: Format, fraction: int, width: int) -> Signal:
    """Return the signal in a type in which scaling, adding a half and wrapping are exact."""
    if signal.dtype not in SIGNIFICAND_BITS:
        return graph.cast(signal, FLOAT32 if signal.dtype.itemsize <= 2 else FLOAT64)
    if signal.fraction is None:
        # Raw numbers near the largest float32 become infinite by scaling; only saturation makes nothing of it.
        is_narrow = target.overflow in ("SAT", "SAT_SYM") and width <= SIGNIFICAND_BITS[FLOAT32]
        return signal if is_narrow else graph.cast(signal, FLOAT64)
    needed = max(exact_bits(signal.magnitude, max(signal.fraction, fraction + 1)), width) + 1
    return signal if needed <= SIGNIFICAND_BITS[signal.dtype] else graph.cast(signal, FLOAT64)


class _Steps:
    """Nodes one after another on a tensor of integers (times the step of the target)."""

    def __init__(self, graph: GraphBuilder, signal: Signal, rounding: Rounding) -> None:
        self._graph = graph
        self.signal = signal
        self._rounding = rounding
        self._name = signal.name
        self._unrounded = signal.name
        self._low, self._high = signal.lowest, signal.highest  # of what the tensor holds, once it is scaled

    def widen(self, dtype: np.dtype[Any]) -> None:
        self.signal = self._graph.cast(dataclasses.replace(self.signal, name=self._name), dtype)
        self._name = self.signal.name

    def scale_to(self, fraction: int, factors: ArrayLike) -> None:
        self._low, self._high = self.signal.lowest * 2.0**fraction, self.signal.highest * 2.0**fraction
        if np.any(np.asarray(factors) != 1):
            self._node("Mul", self._number(factors))

    def round(self, coarsest: int, finest: int) -> None:
        """Round, unless the values are multiples of the coarsest step anyway; bits behind the point are given."""
        fraction = self.signal.fraction
        self._unrounded = self._name
        if fraction is not None and fraction <= coarsest:
            return
        is_half_exact = (
            fraction is not None
            and exact_bits(self.signal.magnitude, max(fraction, finest + 1)) < SIGNIFICAND_BITS[self.signal.dtype]
        )
        if self._rounding in ("RND_INF", "RND_ZERO", "TRN_ZERO") and self._low < 0:
            self._round_magnitude(is_half_exact)
        else:
            self._round_one_way(self._rounding, is_half_exact)
        self._low, self._high = (float(rounded(np.asarray(end), self._rounding)) for end in (self._low, self._high))

    def bring_between(self, low: Any, high: Any, mode: str) -> None:
        """Apply the overflow mode, unless no value is beyond the ends."""
        is_below, is_above = bool(np.any(self._low < low)), bool(np.any(self._high > high))
        if not is_below and not is_above:
            return
        if mode in ("SAT", "SAT_SYM"):
            self._clip(low, high, is_below, is_above)
        elif mode == "SAT_ZERO":
            before = self._name
            self._clip(low, high, True, True)
            is_inside = self._graph.node("Equal", [before, self._name])
            self._name = self._graph.node("Where", [is_inside, before, self._number(0)])
        elif mode == "WRAP":
            self._wrap(low, high - low + 1)
        else:
            self._wrap_sign_magnitude(low, high)
        if mode in ("SAT", "SAT_SYM"):
            self._low, self._high = (float(np.clip(end, np.min(low), np.max(high))) for end in (self._low, self._high))
        else:
            self._low, self._high = float(np.min(low)), float(np.max(high))

    def finish(self, fraction: int, target: Format) -> Signal:
        known = self.signal.fraction
        return dataclasses.replace(
            self.signal,
            name=self._name,
            scale=fraction,
            fraction=fraction if known is None else min(fraction, known),
            lowest=self._low * 2.0**-fraction,
            highest=self._high * 2.0**-fraction,
            format=target,
        )

    def _node(self, operator: str, *more: str) -> str:
        self._name = self._graph.node(operator, [self._name, *more])
        return self._name

    def _number(self, value: ArrayLike) -> str:
        return self._graph.constant(value, self.signal.dtype)

    def _round_magnitude(self, is_half_exact: bool) -> None:
        sign = self._graph.node("Sign", [self._name])
        self._node("Abs")
        one_way: dict[str, Rounding] = {"RND_INF": "RND", "RND_ZERO": "RND_MIN_INF", "TRN_ZERO": "TRN"}
        self._round_one_way(one_way[self._rounding], is_half_exact)
        self._node("Mul", sign)

    def _round_one_way(self, mode: Rounding, is_half_exact: bool) -> None:
        if mode in ("TRN", "TRN_ZERO"):
            self._node("Floor")
        elif mode == "RND_CONV":
            self._node("Round")
        elif is_half_exact:
            is_up = mode in ("RND", "RND_INF")
            self._node("Add" if is_up else "Sub", self._number(0.5))
            self._node("Floor" if is_up else "Ceil")
        else:
            self._round_by_ties(is_up=mode in ("RND", "RND_INF"))

    def _round_by_ties(self, *, is_up: bool) -> None:
        """Round to the nearest even, then move the ties: exact even where adding a half is not."""
        from onnx import helper

        before = self._name
        nearest = self._node("Round")
        behind = self._graph.node("Sub", [before, nearest])
        is_tie = self._graph.node("Equal", [behind, self._number(0.5 if is_up else -0.5)])
        one = self._graph.node("Cast", [is_tie], to=helper.np_dtype_to_tensor_dtype(self.signal.dtype))
        self._node("Add" if is_up else "Sub", one)

    def _clip(self, low: Any, high: Any, is_below: bool, is_above: bool) -> None:
        if np.ndim(low) or np.ndim(high):
            self._node("Max", self._number(low))
            self._node("Min", self._number(high))
        else:
            # Clip takes its ends as optional inputs.
            self._node("Clip", self._number(low) if is_below else "", *([self._number(high)] if is_above else []))

    def _wrap(self, low: Any, period: Any) -> None:
        if not np.isfinite(self._high):
            self._take_off_periods(np.zeros(()), period)
        self._take_off_periods(-np.asarray(low) / period, period)

    def _take_off_periods(self, offset: Any, period: Any) -> None:
        before = self._name
        self._node("Mul", self._number(1 / np.asarray(period)))
        if np.any(offset):
            self._node("Add", self._number(offset))
        self._node("Floor")
        periods = self._node("Mul", self._number(period))
        self._name = self._graph.node("Sub", [before, periods])

    def _wrap_sign_magnitude(self, low: Any, high: Any) -> None:
        """Wrap, then complement as `evtfw.external.emulator.formats.fixed_point.overflowed` does."""
        graph, integers, period = self._graph, self._name, high - low + 1
        self._name = self._unrounded
        self._node("Mul", self._number(1 / np.asarray(period)))
        periods = self._node("Floor")
        self._node("Mul", self._number(0.5))
        halves = self._node("Floor")
        twice = graph.node("Add", [halves, halves])
        cut_off = graph.node("Equal", [graph.node("Sub", [periods, twice]), self._number(1.0)])
        self._name = integers
        self._wrap(low, period)
        is_negative = graph.node("Less", [self._name, self._number(0.0)])
        is_other = graph.node("Not", [graph.node("Equal", [integers, self._name])])
        is_complemented = graph.node("And", [is_other, graph.node("Xor", [cut_off, is_negative])])
        complement = graph.node("Sub", [self._number(-1.0), self._name])
        self._name = graph.node("Where", [is_complemented, complement, self._name])
