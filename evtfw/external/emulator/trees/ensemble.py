"""Decision trees as the emulator sees them, free of the library that grew them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evtfw.core.errors import ConfigurationError

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Comparison: TypeAlias = Literal["<=", "<"]
Link: TypeAlias = Literal["identity", "logistic", "softmax"]

LEAF: Final = -1
"""In place of the feature and of the children of a node that has none."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tree:
    """One tree; node 0 is its root.

    Args:
        feature: [nodes], which of a row's features is compared, or `LEAF`.
        threshold: [nodes], what with; 0 at leaves.
        left: [nodes], the node to go to where the comparison holds, or `LEAF`.
        right: [nodes], the node to go to where it does not, or `LEAF`.
        value: [nodes], the score of leaves; 0 elsewhere.
    """

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats

    @classmethod
    def of(cls, feature: ArrayLike, threshold: ArrayLike, left: ArrayLike, right: ArrayLike, value: ArrayLike) -> Tree:
        """Make one from what libraries hold: a negative left child makes a leaf, whatever else they have there.

        Nodes that no branch reaches (XGBoost leaves those that it pruned) are left out.

        Raises:
            ConfigurationError: these are not the nodes of a tree.
        """
        left, right = np.asarray(left, np.int64), np.asarray(right, np.int64)
        kept = _reachable(left, right)
        number = np.full(left.size, LEAF)
        number[kept] = np.arange(kept.size)
        is_leaf = left[kept] < 0
        tree = cls(
            np.where(is_leaf, LEAF, np.asarray(feature, np.int64)[kept]),
            np.where(is_leaf, 0.0, np.asarray(threshold, np.float64)[kept]),
            np.where(is_leaf, LEAF, number[left[kept]]),
            np.where(is_leaf, LEAF, number[right[kept]]),
            np.where(is_leaf, np.asarray(value, np.float64)[kept], 0.0),
        )
        if np.any(tree.feature < LEAF) or not (np.all(np.isfinite(tree.threshold)) and np.all(np.isfinite(tree.value))):
            raise ConfigurationError(
                "a tree has a feature with a negative number, or a threshold or score that is not finite"
            )
        return tree

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """[nodes], which of them are leaves."""
        return np.asarray(self.feature == LEAF)

    @property
    def depth(self) -> int:
        """Comparisons on the way to the farthest leaf."""
        level, nodes = -1, np.zeros(1, np.int64)
        while nodes.size:
            level += 1
            splits = nodes[~self.is_leaf[nodes]]
            nodes = np.concatenate([self.left[splits], self.right[splits]])
        return level

    def scores(self, rows: Floats, comparison: Comparison) -> Floats:
        """The score of each row, in float64.

        Args:
            rows: [rows, features].
            comparison: of a feature with a threshold.
        """
        holds = np.less_equal if comparison == "<=" else np.less
        node = np.zeros(len(rows), np.int64)
        for _ in range(self.depth):
            goes_left = holds(rows[np.arange(len(rows)), self.feature[node]], self.threshold[node])
            node = np.where(self.is_leaf[node], node, np.where(goes_left, self.left[node], self.right[node]))
        return self.value[node]


def _reachable(left: Integers, right: Integers) -> Integers:
    """The nodes that can be reached from the first, in ascending order."""
    size = left.size
    found = [0]
    for node in found:
        if not 0 <= node < size or len(found) > size:
            break
        if left[node] >= 0:
            found += [int(left[node]), int(right[node])]
    if not all(0 <= node < size for node in found) or len(set(found)) < len(found):
        raise ConfigurationError(f"a tree of {size} nodes is damaged: a child is missing, or has two parents")
    return np.sort(np.array(found, np.int64))


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Trees whose scores are summed, as conifer's firmware does it: ``(initial + sum of trees) * norm``.

    Args:
        kind: library that grew it.
        features: values in a row.
        trees: for each score its trees, in the order in which they are added; as many for each. Two classes have one
            score.
        initial: [scores], where the sums start.
        comparison: of a feature with a threshold; where it holds, a row goes left.
        norm: factor on the sums.
        link: from scores to what the library calls a prediction; no part of the device's arithmetic.
        feature_names: in order, or none.
        formats: what the source says of its arithmetic itself, as `TreeFormats.parse` reads it; only conifer's does.
        notes: what a reader of the model's card should know.
    """

    kind: str
    features: int
    trees: tuple[tuple[Tree, ...], ...]
    initial: Floats
    comparison: Comparison
    norm: float = 1.0
    link: Link = "identity"
    feature_names: tuple[str, ...] = ()
    formats: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        used = max((int(tree.feature.max()) for trees in self.trees for tree in trees), default=LEAF)
        if used >= self.features:
            raise ConfigurationError(
                f"the {self.kind} model says that it has {self.features} features, but one of its trees compares "
                f"feature {used} (they are counted from 0)"
            )
        counts = {len(trees) for trees in self.trees}
        if len(counts) != 1 or not all(counts) or self.initial.shape != (len(self.trees),):
            raise ConfigurationError(
                f"the {self.kind} model has {len(self.trees)} scores with {[len(trees) for trees in self.trees]} trees "
                f"and {self.initial.size} values to start from; each score needs one value and as many trees as the "
                f"others, at least one"
            )
        if not np.all(np.isfinite([*self.initial, self.norm])):
            raise ConfigurationError(f"the {self.kind} model starts from {self.initial}, which is not finite")

    def scores(self, rows: NDArray[Any]) -> Floats:
        """The scores of each row, [rows, scores], in float64: what the quantised model approaches.

        Args:
            rows: [rows, features].
        """
        rows = np.asarray(rows, np.float64)
        sums = [sum((t.scores(rows, self.comparison) for t in trees), np.zeros(len(rows))) for trees in self.trees]
        return (np.stack(sums, axis=1) + self.initial) * self.norm
