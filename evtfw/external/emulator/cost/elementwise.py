"""Layers without weights: activations, pools, merges, and those that only move values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.figures import Figure
from evtfw.external.emulator.cost.formats import bits_of
from evtfw.external.emulator.cost.multiplying import dsps_of, registers
from evtfw.external.emulator.cost.shapes import Shape

LUTS_PER_BIT: Mapping[str, float] = {
    "relu": 0.5,
    "clipped_relu": 1.5,
    "leaky_relu": 2.0,
    "quantise": 1.0,
    "softmax": 2.0,
    "max_pool": 1.0,
    "average_pool": 1.0,
    "add": 1.0,
    "subtract": 1.0,
}
"""Per bit of a value that is made, of a pool per bit of a value that it takes; the rest is wires."""
CYCLES: Mapping[str, int] = {
    "leaky_relu": 1,
    "elu": 1,
    "sigmoid": 1,
    "tanh": 1,
    "softmax": 3,
    "max_pool": 1,
    "average_pool": 1,
    "add": 1,
    "subtract": 1,
    "multiply": 1,
}
"""Softmax: exponentials, their sum and its inverse, the product. ReLUs have no registers of their own."""
_TABLE_BITS = 18
_HALF_BLOCK_BITS = 18 * 1024


def figures(shape: Shape, design: Design) -> dict[str, Figure]:
    """Return cycles and resources of a layer without weights."""
    del design
    card = shape.card
    bits = max(shape.input_bits, shape.result_bits)
    window = math.prod(card.input_shape) / max(1, math.prod(card.output_shape)) if card.kind.endswith("pool") else 1
    luts = LUTS_PER_BIT.get(card.kind, 0.0) * bits * shape.values * max(1.0, window)
    dsps = _dsps(shape)
    pixels = math.prod(card.output_shape[1:]) if shape.is_streamed else 1
    return {
        "latency_cycles": Figure(CYCLES.get(card.kind, 0), "estimated", "element-wise"),
        "interval_cycles": Figure(max(shape.pixels, pixels)),
        "dsp": Figure(dsps, "estimated", "dsp-width"),
        "lut": Figure(luts, "estimated", "element-wise"),
        "ff": registers(luts, dsps),
        "bram": Figure(_table_blocks(shape), "estimated", "table"),
    }


def _dsps(shape: Shape) -> int:
    if shape.card.kind == "softmax":
        bits = bits_of(shape.card.table_format) if shape.card.table_format else _TABLE_BITS
        return shape.values * dsps_of(bits, bits)
    return shape.values * dsps_of(shape.input_bits, shape.input_bits) if shape.card.kind == "multiply" else 0


def _table_blocks(shape: Shape) -> float:
    """Return the memory blocks of its tables; softmax has one of inverses beside those of exponentials."""
    card = shape.card
    if not card.table_size:
        return 0.0
    bits = bits_of(card.table_format) if card.table_format else shape.result_bits
    halves = math.ceil(card.table_size * bits / _HALF_BLOCK_BITS)
    tables = math.ceil(shape.values / 2) + (card.kind == "softmax")
    return halves * tables / 2
