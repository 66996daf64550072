"""Functions as tables, as hls4ml's ``nnet_activation.h`` fills them and looks them up.

hls4ml computes entries by the C library's float32 functions; here they are rounded correctly to float32, which the C
library's are too but for a few in a thousand that lie next to a tie. Entries have fewer bits than float32, so that a
table differs only where such an entry also lies next to a step of its format.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.graph import FLOAT32, FLOAT64, GraphBuilder, Signal, exact_bits
from evtfw.external.emulator.formats.fixed_point import FixedPoint, Floats

_MOST_INDEX_BITS = 31


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """``value * factor``, cut towards 0 and brought between two ends.

    Args:
        factor: entries per 1.
        lowest, highest: ends; negative indices count from the end of the table.
    """

    factor: float
    lowest: int
    highest: int


def sigmoid(size: int) -> Floats:
    """Return ``1 / (1 + exp(-x))`` for x from -8 up to 8."""
    exponential = float32(np.exp(-_centred(size, 8)))
    return float32(1.0 / float32(1 + exponential))


def tanh(size: int) -> Floats:
    """Return ``tanh(x)`` for x from -4 up to 4."""
    return float32(np.tanh(_centred(size, 4)))


def elu(size: int) -> Floats:
    """Return ``exp(x) - 1`` for x from 0 down to -8."""
    return float32(float32(np.exp(float32(-8.0 * np.arange(size) / size))) - 1.0)


def exponential_legacy(size: int) -> Floats:
    """Return ``exp(x)`` for x from -8 up to 8."""
    return float32(np.exp(_centred(size, 8)))


def float32(values: Floats) -> Floats:
    """Return values rounded to float32, as float64."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def look_up(
    graph: GraphBuilder, source: Signal, index: Index, entries: Floats, result: FixedPoint, *, layer: str
) -> Signal:
    """Write a look-up of entries that are rounded to the result's format.

    Raises:
        ConfigurationError: hls4ml's index, a C++ ``int``, would overflow.
    """
    if exact_bits(source.magnitude * abs(index.factor), 0) > _MOST_INDEX_BITS:
        raise ConfigurationError(
            f"{graph.name}: layer '{layer}' looks values of up to {source.magnitude:g} up in a table, which overflows "
            f"an index of {_MOST_INDEX_BITS + 1} bits; give its input fewer bits before the point"
        )
    # One more than the whole number of entries is exact: sizes have up to a dozen bits.
    dtype = graph.exact_dtype(layer, source.magnitude * abs(index.factor), (source.fraction or 0) + 4)
    dtype = max(dtype, source.dtype, key=lambda kind: kind.itemsize)
    wide = graph.cast(source, dtype)
    factor = graph.constant(index.factor * 2.0**-source.scale, dtype)
    position = graph.node("Mul", [wide.name, factor])
    ends = [graph.constant(float(end), dtype) for end in (index.lowest, index.highest)]
    whole = graph.integers(graph.node("Clip", [position, *ends]), np.int32)
    return gather(graph, whole, source.shape, entries, result, layer=layer)


def gather(
    graph: GraphBuilder, index: str, shape: tuple[int, ...], entries: Floats, result: FixedPoint, *, layer: str
) -> Signal:
    """Write the entries at integer indices of a tensor of rows of a shape."""
    low, high = float(entries.min()), float(entries.max())
    dtype = FLOAT32 if exact_bits(max(-low, high), result.fraction) <= 24 else FLOAT64
    table = graph.constant(np.ldexp(entries, result.fraction), dtype, name=f"{layer}_table")
    name = graph.node("Gather", [table, index])
    return Signal(name, shape, result.fraction, result.fraction, low, high, dtype, result)


def _centred(size: int, reach: int) -> Floats:
    return float32(2.0 * reach * (np.arange(size) - float32(np.asarray(size)) / 2.0) / size)
