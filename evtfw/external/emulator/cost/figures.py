"""Figures that know where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

Origin: TypeAlias = Literal["counted", "optimised", "published", "fitted", "estimated"]
"""How far a figure can be trusted, best first.

Counted: follows from the model alone. Optimised: of the adder graph that da4ml
found. Published: somebody measured this very design. Fitted: a formula with constants adjusted to measured designs.
Estimated: a formula from first principles, or with constants from elsewhere.
"""
ORIGINS: tuple[Origin, ...] = ("counted", "optimised", "published", "fitted", "estimated")


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A number and its pedigree.

    Args:
        value: in the unit of its quantity.
        origin: how it was come by.
        source: name of its model in `SOURCES`; empty if it was counted.
    """

    value: float
    origin: Origin = "counted"
    source: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """A column of the report.

    Args:
        name: in JSON and in mappings.
        heading: in tables.
        unit: of its values.
        text: what it is.
    """

    name: str
    heading: str
    unit: str
    text: str


QUANTITIES = (
    Quantity("latency_cycles", "latency", "cycles", "from the first value in to the last value out"),
    Quantity("interval_cycles", "II", "cycles", "initiation interval: until it takes the next row"),
    Quantity("dsp", "DSP", "", "hard multipliers"),
    Quantity("lut", "LUT", "", "look-up tables of the fabric"),
    Quantity("ff", "FF", "", "flip-flops"),
    Quantity("bram", "BRAM", "36 kb", "memory blocks"),
    Quantity("energy_pj", "energy", "pJ", "of the multiplications and additions of one inference"),
)
RESOURCES = ("dsp", "lut", "ff", "bram")

SOURCES: Mapping[str, str] = {
    "adder-tree": "a multiplication takes a cycle, then log2(inputs) adders in a row, as many a cycle as the clock "
    "lets; delay per adder fitted to the published cycles of hls4ml's jet networks (arXiv:1804.06913 on KU115, "
    "arXiv:2006.10159 on VU9P); each reuse adds a cycle, which gives the 75-175 ns of the former",
    "streaming": "a convolution takes one pixel per reuse cycle; a network of them is as slow as its slowest layer, "
    "plus the depth of all (arXiv:2101.05108: 1035 cycles, interval 1030, for 32x32 pixels)",
    "csd-dsp": "a constant of 10 bits or more with at least 4 digits in canonical signed-digit form takes a DSP; "
    "agrees with the 16-bit jet network of arXiv:2006.10159",
    "dsp-width": "DSP48E2 multiplies 27x18 bits, wider operands take several; operands below 10 bits go to LUTs "
    "(AMD UG579, and what Vivado HLS does)",
    "csd-lut": "ternary adders over the signed digits of constants outside DSPs, 0.84 LUTs a bit; "
    "fitted to BF and Q6 of arXiv:2006.10159",
    "lut-multiplier": "a bits times b bits of partial products, and ternary adders",
    "register": "0.19 FFs a LUT and 6 a DSP; fitted to BF, Q6 and QE of arXiv:2006.10159",
    "weight-memory": "weights behind a reuse factor lie in 36 kb blocks of at most 72 bits, one word per reuse cycle",
    "line-buffer": "a streamed window keeps all but one of its rows",
    "table": "one 18 kb block serves two look-ups a cycle",
    "element-wise": "LUTs a bit of comparators, adders and multiplexers (AMD UG574); a cycle for a look-up, "
    "three for softmax",
    "horowitz": "45 nm: multiply 0.0030 b^2 + 0.0010 b pJ, add 0.0031 b pJ (M. Horowitz, ISSCC 2014, as polynomials by "
    "QKeras' QTools); no memory, clock or wires: good for comparing models, not for a power supply",
    "conifer": "1 + depth + ceil(log2 trees of a class) cycles, as conifer pipelines (arXiv:2002.02534)",
    "tree-lut": "0.28 LUTs a bit of each threshold, 0.22 a bit of each leaf; fitted to trees synthesised by yosys",
    "da4ml": "the adder graph that da4ml found (arXiv:2507.04535), its cost in LUTs and depth in adders",
}
"""What stands behind a figure, by the name that `Figure.source` has."""


def total(figures: Iterable[Figure]) -> Figure:
    """Return the sum; it is as trustworthy as its weakest part that counts."""
    parts = [figure for figure in figures if figure.value] or [Figure(0.0)]
    weakest = max(parts, key=lambda figure: ORIGINS.index(figure.origin))
    return Figure(sum(figure.value for figure in parts), weakest.origin, weakest.source)
