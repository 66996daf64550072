"""Sums in accumulators that lose something of each product, or saturate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.graph import FLOAT32, FLOAT64, SIGNIFICAND_BITS, GraphBuilder, Signal
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.formats.fixed_point import MOST_BITS, FixedPoint, Floats

if TYPE_CHECKING:
    from evtfw.external.emulator.fixed.dense import Product

MOST_ORDERED_INPUTS: Final = 1024
"""Inputs of a layer whose sums must be made one by one."""

_SHIFTABLE: Final = ("TRN", "RND", "RND_MIN_INF")
"""Rounding that commutes with adding any multiples of the coarser step."""


def sums_of_rounded(graph: GraphBuilder, product: Product, accumulator: FixedPoint) -> tuple[Signal, tuple[str, str]]:
    """Write sums of products, each rounded to the accumulator's step; overflow is modular, or there is none."""
    low, high = product.range()
    slack = accumulator.step * product.weight.shape[0]
    ends = low - slack, high + slack
    dropped = product.product_fraction - accumulator.fraction
    graph.exact_dtype(product.layer, max(-ends[0], ends[1]), product.product_fraction)
    if accumulator.rounding in _SHIFTABLE and 2 * dropped - 2 < SIGNIFICAND_BITS[FLOAT32]:
        name, names = _corrected_sums(graph, product, accumulator, dropped)
    else:
        each, names = _each_product(graph, product, accumulator)
        unlimited = FixedPoint(MOST_BITS, MOST_BITS - accumulator.fraction, rounding=accumulator.rounding)
        each = quantise(graph, each, unlimited, layer=product.layer)
        name = graph.node("ReduceSum", [each.name, graph.constant([-2], np.int64)], keepdims=0)
        if names[1]:
            name = graph.node("Add", [name, graph.scaled(names[1], accumulator.fraction, FLOAT64)])
    fraction = accumulator.fraction
    return Signal(name, product.shape, fraction, fraction, *ends, FLOAT64), names


def _corrected_sums(
    graph: GraphBuilder, product: Product, accumulator: FixedPoint, dropped: int
) -> tuple[str, tuple[str, str]]:
    """Write sums of rounded products as exact sums and what rounding changes, which small numbers tell.

    Let X and W be integers and x and w what is left of them modulo 2**k, k the bits dropped. Then X W - x w is a
    multiple of 2**k, so that round(X W / 2**k) = (X W - x w) / 2**k + round(x w / 2**k): only the last term needs
    every product by itself, and float32 holds it.
    """
    source = graph.cast(product.source, FLOAT64)
    names = product.constants(graph, FLOAT64)
    weight = graph.scaled(names[0], accumulator.fraction - source.scale, FLOAT64)
    exact = graph.node("MatMul", [source.name, weight], name=f"{product.layer}_sums")
    if names[1]:
        exact = graph.node("Add", [exact, graph.scaled(names[1], accumulator.fraction, FLOAT64)])
    left = _residues(np.ldexp(product.weight, product.weight_fraction), dropped)
    small_weight = graph.constant(np.ldexp(left, -dropped), FLOAT32, name=f"{product.layer}_weight_residue")
    residue = _residue_nodes(graph, source, dropped)
    is_short = 2 * dropped - 2 + np.log2(len(left)) <= SIGNIFICAND_BITS[FLOAT32]
    small_source = graph.to_dtype(residue, FLOAT32)
    if is_short:
        small = graph.node("MatMul", [small_source, small_weight])
        small = graph.to_dtype(small, FLOAT64)
    else:
        wide = graph.constant(np.ldexp(left, -dropped), FLOAT64)
        small = graph.node("MatMul", [residue, wide])
    column = graph.node("Unsqueeze", [small_source, graph.constant([-1], np.int64)])
    each = graph.node("Mul", [column, small_weight], name=f"{product.layer}_products")
    if accumulator.rounding != "TRN":
        half = graph.constant(0.5, FLOAT32)
        each = graph.node("Add" if accumulator.rounding == "RND" else "Sub", [each, half])
    rounded = graph.node("Ceil" if accumulator.rounding == "RND_MIN_INF" else "Floor", [each])
    sums = graph.node("ReduceSum", [rounded, graph.constant([-2], np.int64)], keepdims=0)
    change = graph.node("Sub", [graph.to_dtype(sums, FLOAT64), small])
    return graph.node("Add", [exact, change]), names


def _residues(integers: Floats, bits: int) -> Floats:
    """Return what is left of integers modulo ``2**bits``, around 0."""
    return np.asarray(integers - np.ldexp(np.floor(np.ldexp(integers, -bits) + 0.5), bits))


def _residue_nodes(graph: GraphBuilder, source: Signal, bits: int) -> str:
    """Write `_residues` of a signal's integers."""
    fraction = source.fraction or 0
    name = source.name
    if source.scale != fraction:
        name = graph.node("Mul", [name, graph.constant(2.0 ** (fraction - source.scale), FLOAT64)])
    periods = graph.node("Mul", [name, graph.constant(2.0**-bits, FLOAT64)])
    periods = graph.node("Floor", [graph.node("Add", [periods, graph.constant(0.5, FLOAT64)])])
    return graph.node("Sub", [name, graph.node("Mul", [periods, graph.constant(2.0**bits, FLOAT64)])])


def _each_product(graph: GraphBuilder, product: Product, accumulator: FixedPoint) -> tuple[Signal, tuple[str, str]]:
    """Write the products one by one: [..., inputs, outputs], scaled as the accumulator holds them."""
    source = graph.cast(product.source, FLOAT64)
    names = product.constants(graph, FLOAT64)
    weight = graph.scaled(names[0], accumulator.fraction - source.scale, FLOAT64)
    column = graph.node("Unsqueeze", [source.name, graph.constant([-1], np.int64)])
    name = graph.node("Mul", [column, weight], name=f"{product.layer}_products")
    ends = np.stack([product.weight * source.lowest, product.weight * source.highest])
    graph.exact_dtype(product.layer, float(np.abs(ends).max()), product.product_fraction)
    return (
        Signal(
            name,
            (*source.shape, product.weight.shape[1]),
            accumulator.fraction,
            product.product_fraction,
            float(ends.min()),
            float(ends.max()),
            FLOAT64,
        ),
        names,
    )


def ordered_sums(graph: GraphBuilder, product: Product, accumulator: FixedPoint) -> tuple[Signal, tuple[str, str]]:
    """Write one addition after another: a saturating accumulator forgets what came before."""
    inputs = product.weight.shape[0]
    if inputs > MOST_ORDERED_INPUTS:
        raise ConfigurationError(
            f"{graph.name}: layer '{product.layer}' sums {inputs} products in an accumulator {accumulator} that can "
            f"overflow, in an order that matters; the emulator does so for up to {MOST_ORDERED_INPUTS}. Let the "
            f"accumulator wrap, or make it wider"
        )
    each, names = _each_product(graph, product, accumulator)
    each = quantise(graph, each, accumulator, layer=product.layer)
    bias = graph.scaled(names[1], each.scale, each.dtype) if names[1] else graph.constant(0.0, each.dtype)
    ends = float(product.bias.min()), float(product.bias.max())
    sums = Signal(bias, product.shape, each.scale, accumulator.fraction, *ends, each.dtype)
    stride = product.formats.summation_stride
    for index in [i for first in range(stride) for i in range(first, inputs, stride)]:
        picked = graph.node("Gather", [each.name, graph.constant(index, np.int64)], axis=-2)
        name = graph.node("Add", [sums.name, picked])
        low, high = sums.lowest + each.lowest, sums.highest + each.highest
        added = dataclasses.replace(sums, name=name, lowest=low, highest=high, format=None)
        sums = quantise(graph, added, accumulator, layer=product.layer)
    return sums, names
