"""Energy of an inference's arithmetic in a 45 nm process, after Horowitz."""

from __future__ import annotations

from evtfw.external.emulator.card import TreesCard
from evtfw.external.emulator.cost.figures import Figure
from evtfw.external.emulator.cost.formats import bits_of
from evtfw.external.emulator.cost.shapes import Shape

FLOAT32_PJ = 3.7 + 0.9
"""A multiplication and an addition in single precision (M. Horowitz, ISSCC 2014)."""


def multiply_pj(bits: int) -> float:
    """Return the energy of an integer multiplication.

    Polynomial of QKeras' QTools through Horowitz' 8 and 32 bits.

    >>> round(multiply_pj(8), 2), round(multiply_pj(32), 2)
    (0.2, 3.1)
    """
    return 0.002994791667 * bits**2 + 0.001041666667 * bits


def add_pj(bits: int) -> float:
    """Return the energy of an integer addition.

    >>> add_pj(32)
    0.1
    """
    return 0.003125 * bits


def energy_pj(shape: Shape) -> Figure:
    """Return the energy of a layer's multiplications and additions for one row.

    Weights that are zero cost nothing, powers of two need no multiplier.
    """
    constants = shape.constants
    if constants is None:
        return Figure(0.0, "estimated", "horowitz")
    multiply = (constants.non_zero - constants.shifts) * multiply_pj(max(shape.input_bits, shape.weight_bits))
    add = constants.non_zero * add_pj(shape.sum_bits)
    return Figure(shape.positions * (multiply + add), "estimated", "horowitz")


def trees_energy_pj(trees: TreesCard) -> Figure:
    """Return the energy of comparing all thresholds, as hardware does, and of adding the scores."""
    compare = trees.splits * add_pj(bits_of(trees.threshold_format))
    return Figure(compare + trees.trees * add_pj(bits_of(trees.score_format)), "estimated", "horowitz")
