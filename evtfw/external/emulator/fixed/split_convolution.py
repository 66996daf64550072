"""Exact convolutions in float32, which onnxruntime computes fastest (it has none in float64).

A sum of integers is exact in float32 as long as every partial sum stays below 2**24, in any order and with fused
multiply-adds; onnxruntime's CPU kernels use no transforms (Winograd, Fourier) that would add other numbers. Where
values are too wide for that, they are split into a few parts of fewer bits, as ``high * 2**bits + low``, each part is
convolved, and the sums of parts come together in float64.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Final

import numpy as np

from evtfw.external.emulator.fixed import arithmetic
from evtfw.external.emulator.fixed.dense import Product, finest_fraction
from evtfw.external.emulator.fixed.graph import FLOAT32, FLOAT64, SIGNIFICAND_BITS, GraphBuilder, Signal
from evtfw.external.emulator.network import Conv

MOST_PARTS: Final = 3
"""Parts up to which splitting is faster than gathering windows and multiplying matrices in float64."""

_LARGEST: Final = 2.0 ** SIGNIFICAND_BITS[FLOAT32]


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """How the integers of a signal are split.

    Args:
        parts: how many.
        bits: of all parts but the highest.
    """

    parts: int
    bits: int


def exact_convolution(
    graph: GraphBuilder, product: Product, layer: Conv, scale: int
) -> tuple[Signal, tuple[str, str]] | None:
    """Write the exact sums of a convolution.

    Args:
        graph: to add nodes to.
        product: its source, channels first, and its parameters, the weights as `convolution.as_matrix` arranges them.
        layer: the convolution.
        scale: wished for the result.

    Returns:
        The sums, in rows of the layer's shape, and the names of the constants with weights and biases ("": none);
        None if that would take more than `MOST_PARTS` parts.
    """
    low, high = product.bounds()
    ends = float(low.min()), float(high.max())
    exact = graph.exact_dtype(product.layer, max(-ends[0], ends[1]), product.fraction)
    split = Split(1, 0) if exact == FLOAT32 else split_of(product)
    if split is None:
        return None
    weights = graph.constant(product.weight, FLOAT32, name=f"{product.layer}_weight")
    kernel = _kernel(graph, weights, layer)
    bias = graph.constant(product.bias, exact, name=f"{product.layer}_bias") if np.any(product.bias) else ""
    added = graph.scaled(bias, scale, exact) if bias else ""
    sums: list[str] = []
    for part, exponent in _parts(graph, product.source, split):
        inputs = [part, graph.scaled(kernel, scale + exponent, FLOAT32)]
        inputs += [added] if added and exact == FLOAT32 else []
        sums.append(_convolved(graph, inputs, layer))
    if exact == FLOAT64:
        sums = [graph.to_dtype(name, FLOAT64) for name in sums]
        along = graph.constant([-1, *(1,) * (len(layer.shape) - 1)], np.int64)
        sums += [graph.node("Reshape", [added, along])] if added else []
    total = functools.reduce(lambda one, other: graph.node("Add", [one, other]), sums)
    return Signal(total, layer.shape, scale, product.fraction, *ends, exact), (weights, bias)


def split_of(product: Product) -> Split | None:
    """Return how to split the source of a product so that float32 holds the sums of each part; None: too many parts."""
    weights = np.ldexp(product.weight, finest_fraction(product.weight))
    above, below = np.maximum(weights, 0).sum(axis=0), np.maximum(-weights, 0).sum(axis=0)
    bits = math.floor(math.log2(_LARGEST / max(above.max(), below.max(), 1.0)))
    fraction = arithmetic.steps_of(product.source)
    for parts in range(1, MOST_PARTS + 1):
        ends = (product.source.lowest, product.source.highest)
        least, most = (math.floor(math.ldexp(end, fraction - bits * (parts - 1))) for end in ends)
        least, most = min(least, 0), max(most, 0)
        if max((above * most - below * least).max(), (below * most - above * least).max()) <= _LARGEST:
            return Split(parts, bits) if parts == 1 or bits > 0 else None
    return None


def _parts(graph: GraphBuilder, source: Signal, split: Split) -> list[tuple[str, int]]:
    """Return float32 tensors and the exponents e for which the source's values are the sum of ``tensor * 2**e``."""
    if split.parts == 1:
        return [(graph.cast(source, FLOAT32).name, -source.scale)]
    fraction = arithmetic.steps_of(source)
    rest, found = arithmetic.with_scale(graph, source, fraction), []
    base = graph.constant(2.0**split.bits, source.dtype), graph.constant(2.0**-split.bits, source.dtype)
    for part in range(split.parts - 1):
        higher = graph.node("Floor", [graph.node("Mul", [rest.name, base[1]])])
        lower = graph.node("Sub", [rest.name, graph.node("Mul", [higher, base[0]])])
        found.append((dataclasses.replace(rest, name=lower), split.bits * part - fraction))
        rest = dataclasses.replace(rest, name=higher)
    found.append((rest, split.bits * (split.parts - 1) - fraction))
    return [(graph.cast(signal, FLOAT32).name, exponent) for signal, exponent in found]


def _kernel(graph: GraphBuilder, weights: str, layer: Conv) -> str:
    """Return the weights as ``Conv`` wants them; onnxruntime turns them once, when it loads the model."""
    outputs, channels, *window = layer.weight.shape
    unfolded = graph.node("Reshape", [weights, graph.constant([*window, channels, outputs], np.int64)])
    axes = len(window)
    return graph.node("Transpose", [unfolded], perm=[axes + 1, axes, *range(axes)])


def _convolved(graph: GraphBuilder, inputs: list[str], layer: Conv) -> str:
    return graph.node(
        "Conv",
        inputs,
        name=f"{layer.name}_sums",
        strides=list(layer.strides),
        pads=list(layer.pads),
        dilations=list(layer.dilations),
        group=layer.groups,
    )
