"""Layers that multiply by weights: dense, convolution, scale."""

from __future__ import annotations

import math

from evtfw.external.emulator.cost.constants import WIDE_BITS, Constants
from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.figures import Figure
from evtfw.external.emulator.cost.shapes import Shape

LUTS_PER_ADDER_BIT = 0.84
FFS_PER_LUT = 0.19
FFS_PER_DSP = 6
BLOCK_BITS = 36 * 1024
_GUARD_BITS = 2
"""By which the adders of a tree are on average wider than the products; most adders are near the leaves."""
_DSP_BITS = (27, 18)
_WORDS = ((72, 512), (36, 1024), (18, 2048), (9, 4096))
"""Bits and depth of the shapes that a memory block takes (AMD UG573)."""


def figures(shape: Shape, design: Design) -> dict[str, Figure]:
    """Return cycles and resources of a layer with weights."""
    constants = shape.constants
    if constants is None:
        raise ValueError(f"{shape.card.name} has no weights")
    reuse = min(design.reuse_factor, constants.size)
    dsp, lut = _constant(shape, constants) if design.has_constants else _shared(shape, constants, design)
    if design.strategy == "da" and design.has_constants:
        dsp, lut = (
            Figure(0.0, "estimated", "csd-lut"),
            Figure(_adder_luts(shape, constants.digits), "estimated", "csd-lut"),
        )
    depth = 1 + design.cycles_of_adders(math.ceil(math.log2(constants.inputs)))
    interval = max(shape.pixels, shape.positions * reuse)
    return {
        "latency_cycles": Figure(depth + reuse - 1, "fitted", "adder-tree"),
        "interval_cycles": Figure(interval, "estimated", "streaming") if interval > reuse else Figure(reuse),
        "dsp": dsp,
        "lut": lut,
        "ff": registers(lut.value, dsp.value),
        "bram": _memory(shape, constants, design, reuse),
    }


def registers(luts: float, dsps: float) -> Figure:
    """Return the flip-flops of a pipelined layer."""
    return Figure(FFS_PER_LUT * luts + FFS_PER_DSP * dsps, "fitted", "register")


def dsps_of(first_bits: int, second_bits: int) -> int:
    """Return the DSPs of a multiplication of two variables; 0: tools make it of LUTs."""
    if min(first_bits, second_bits) < WIDE_BITS:
        return 0
    wide, narrow = _DSP_BITS
    ways = ((first_bits, second_bits), (second_bits, first_bits))
    return min(math.ceil(a / wide) * math.ceil(b / narrow) for a, b in ways)


def _constant(shape: Shape, constants: Constants) -> tuple[Figure, Figure]:
    """Return DSPs and LUTs where each weight has a multiplier made for it."""
    dsps = constants.many if shape.weight_bits >= WIDE_BITS else 0
    digits = constants.digits - (constants.digits_of_many if dsps else 0)
    return Figure(dsps, "fitted", "csd-dsp"), Figure(_adder_luts(shape, digits), "fitted", "csd-lut")


def _adder_luts(shape: Shape, terms: int) -> float:
    """Return the LUTs of ternary adders over so many terms: each swallows two."""
    bits = min(shape.sum_bits, shape.input_bits + shape.weight_bits + _GUARD_BITS)
    return LUTS_PER_ADDER_BIT * terms / 2 * bits


def _shared(shape: Shape, constants: Constants, design: Design) -> tuple[Figure, Figure]:
    """Return DSPs and LUTs where multipliers serve several weights, one after another."""
    weights = constants.size if design.strategy == "resource" else constants.non_zero
    multipliers = math.ceil(weights / min(design.reuse_factor, constants.size))
    each = dsps_of(shape.input_bits, shape.weight_bits)
    adders = LUTS_PER_ADDER_BIT * multipliers / 2 * shape.sum_bits
    products = 0 if each else multipliers * shape.input_bits * shape.weight_bits
    return Figure(multipliers * each, "estimated", "dsp-width"), Figure(
        adders + products, "estimated", "lut-multiplier"
    )


def _memory(shape: Shape, constants: Constants, design: Design, reuse: int) -> Figure:
    rows = _line_buffer_bits(shape, constants)
    buffer = math.ceil(rows / BLOCK_BITS) if rows else 0
    if design.has_constants or reuse == 1:
        return Figure(buffer, "estimated", "line-buffer") if buffer else Figure(0.0, "estimated", "weight-memory")
    word_bits = math.ceil(constants.size / reuse) * shape.weight_bits
    blocks = min(math.ceil(word_bits / bits) * math.ceil(reuse / depth) for bits, depth in _WORDS)
    return Figure(blocks + buffer, "estimated", "weight-memory")


def _line_buffer_bits(shape: Shape, constants: Constants) -> int:
    """Return the bits of the rows that a streamed convolution must keep; kernels are taken to be square."""
    card = shape.card
    if not shape.is_streamed or not card.kind.endswith("2d"):
        return 0
    window = constants.size // max(1, constants.outputs)
    channels = card.input_shape[0]
    if not card.kind.startswith("depthwise"):
        window //= channels
    return (round(math.sqrt(max(1, window))) - 1) * card.input_shape[-1] * channels * shape.input_bits
