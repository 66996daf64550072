"""How leaves are summed in floating point so that nothing is lost, and saturation comes where the device has it.

onnxruntime adds a row's leaves in float32, in an order of its own. So leaves are integers (times the step of their
format) whose sums stay below 2**24; wider ones are cut into digits, summed apart. Sums that wrap can be brought back
into their format once, at the end. Other overflow modes depend on the order: trees are added in groups, each of which
ends with the first tree that can carry a sum beyond the format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from evtfw.external.emulator.fixed.graph import FLOAT32, SIGNIFICAND_BITS
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.trees.ensemble import Ensemble, Floats, Integers

Leaves: TypeAlias = tuple[tuple[Integers, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Digit:
    """Some bits of a group's leaves, summed.

    Args:
        columns: of the tree operator's output, one for each score.
        fraction: the column holds ``value * 2**fraction``.
        lowest, highest: bounds of the values.
    """

    columns: range
    fraction: int
    lowest: float
    highest: float


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Trees that follow one another, and whose leaves can be added in any order.

    Args:
        rounds: the trees, by their place among those of each score.
        digits: their leaves.
        lowest, highest: bounds of the whole sum up to them, before it is brought back into its format.
    """

    rounds: range
    digits: tuple[Digit, ...]
    lowest: float
    highest: float


@dataclasses.dataclass(frozen=True, eq=False)
class SumPlan:
    """The groups, in order.

    Args:
        leaves: for each score and tree, [nodes]: the values of leaves as integers of the format; 0 elsewhere.
        groups: that are added one after another.
        digit_bits: bits of a digit.
    """

    leaves: Leaves
    groups: tuple[Group, ...]
    digit_bits: int

    @property
    def targets(self) -> int:
        """Columns of the tree operator's output."""
        return sum(len(digit.columns) for group in self.groups for digit in group.digits)

    @classmethod
    def of(cls, ensemble: Ensemble, score: FixedPoint) -> SumPlan:
        """Plan the sums of an ensemble whose scores have a format."""
        scale = 2.0**score.fraction
        leaves = tuple(
            tuple(np.rint(score.quantise(tree.value) * scale).astype(np.int64) for tree in trees)
            for trees in ensemble.trees
        )
        spans = list(_spans(score.quantise(ensemble.initial) * scale, leaves, score))
        bits, count = _digits(leaves, [rounds for rounds, _, _ in spans], score.width)
        groups: list[Group] = []
        for rounds, lowest, highest in spans:
            digits = []
            for number in range(count):
                first = (len(groups) * count + number) * len(leaves)
                parts = [[_digit(row[i], number, bits, count) for i in rounds] for row in leaves]
                digits.append(_summed(parts, first, score.fraction - number * bits))
            groups.append(Group(rounds, tuple(digits), lowest / scale, highest / scale))
        return cls(leaves, tuple(groups), bits)

    def extremes(self, initial: Floats, score: FixedPoint) -> tuple[float, float]:
        """Return the least and the largest sum that starts from some values, as if the format had no ends."""
        ends = [sum(int(end(tree)) for tree in row) for end in (np.min, np.max) for row in self.leaves]
        lowest, highest = np.reshape(ends, (2, -1)) * score.step + initial
        return float(lowest.min()), float(highest.max())

    def addends(self, score: int, tree: int) -> Iterator[tuple[int, Integers]]:
        """Yield the columns that a tree adds to, and what it adds, [nodes]."""
        group = next(group for group in self.groups if tree in group.rounds)
        for number, digit in enumerate(group.digits):
            yield digit.columns[score], _digit(self.leaves[score][tree], number, self.digit_bits, len(group.digits))


def _spans(initial: Floats, leaves: Leaves, score: FixedPoint) -> Iterator[tuple[range, float, float]]:
    """Yield groups of trees, and the bounds of the sums up to their ends; all are integers times the format's step."""
    ends = score.lowest * 2.0**score.fraction, score.highest * 2.0**score.fraction
    lowest, highest, first = initial, initial, 0
    trees = len(leaves[0])
    for tree in range(trees):
        lowest = lowest + [int(row[tree].min()) for row in leaves]
        highest = highest + [int(row[tree].max()) for row in leaves]
        is_beyond = bool(np.any(lowest < ends[0]) or np.any(highest > ends[1]))
        if (is_beyond and score.overflow != "WRAP") or tree == trees - 1:
            yield range(first, tree + 1), float(lowest.min()), float(highest.max())
            first = tree + 1
            is_clipped = score.overflow in ("SAT", "SAT_SYM")
            lowest = np.clip(lowest, *ends) if is_clipped else np.full_like(lowest, ends[0])
            highest = np.clip(highest, *ends) if is_clipped else np.full_like(highest, ends[1])


def _digits(leaves: Leaves, groups: list[range], width: int) -> tuple[int, int]:
    """Return how many bits at a time, and how many times, a group's leaves can be summed without loss."""
    largest = max(sum(int(np.abs(row[tree]).max()) for tree in group) for row in leaves for group in groups)
    exact = SIGNIFICAND_BITS[FLOAT32]
    if largest <= 2**exact:
        return width, 1
    bits = exact - max(len(group) - 1 for group in groups).bit_length()
    return bits, -(-width // bits)


def _digit(values: Integers, number: int, bits: int, count: int) -> Integers:
    """One digit of integers; the highest has the sign."""
    shifted = values >> (number * bits)
    return shifted if number == count - 1 else shifted & ((1 << bits) - 1)


def _summed(leaves: list[list[Integers]], first: int, fraction: int) -> Digit:
    """The sums of one digit, [scores][trees][nodes], in columns from the first on."""
    lowest = min(sum(int(one.min()) for one in row) for row in leaves)
    highest = max(sum(int(one.max()) for one in row) for row in leaves)
    return Digit(range(first, first + len(leaves)), fraction, lowest * 2.0**-fraction, highest * 2.0**-fraction)
