"""Attributes of ONNX's operator ``TreeEnsembleRegressor``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from evtfw.external.emulator.fixed.graph import FLOAT64
from evtfw.external.emulator.trees.ensemble import Ensemble, Floats
from evtfw.external.emulator.trees.sums import SumPlan

TREE_DOMAIN: Final = "ai.onnx.ml"
TREE_OPSET: Final = 3
"""The first whose thresholds may be float64; its operator has one mode of comparison for each node."""


def tree_attributes(
    ensemble: Ensemble, thresholds: list[list[Floats]], plan: SumPlan, dtype: np.dtype[Any]
) -> dict[str, Any]:
    """Return the attributes.

    Args:
        ensemble: the trees.
        thresholds: for each score and tree, [nodes], as they are compared.
        plan: what leaves add, and to which column of the output.
        dtype: of the input: float32 or float64.
    """
    trees = [(score, i, tree) for score, row in enumerate(ensemble.trees) for i, tree in enumerate(row)]
    nodes = {
        "treeids": [np.full(tree.feature.size, number) for number, (_, _, tree) in enumerate(trees)],
        "nodeids": [np.arange(tree.feature.size) for _, _, tree in trees],
        "featureids": [np.maximum(tree.feature, 0) for _, _, tree in trees],
        "truenodeids": [np.maximum(tree.left, 0) for _, _, tree in trees],
        "falsenodeids": [np.maximum(tree.right, 0) for _, _, tree in trees],
    }
    values = np.concatenate([thresholds[score][i] for score, i, _ in trees])
    branch = "BRANCH_LEQ" if ensemble.comparison == "<=" else "BRANCH_LT"
    targets = [_targets(number, plan, score, i, tree.is_leaf) for number, (score, i, tree) in enumerate(trees)]
    treeids, nodeids, columns, weights = (np.concatenate(parts) for parts in zip(*targets, strict=True))
    return {
        **{f"nodes_{name}": np.concatenate(parts).tolist() for name, parts in nodes.items()},
        "nodes_modes": ["LEAF" if leaf else branch for _, _, tree in trees for leaf in tree.is_leaf],
        **_numbers("nodes_values", values, dtype),
        "target_treeids": treeids.tolist(),
        "target_nodeids": nodeids.tolist(),
        "target_ids": columns.tolist(),
        **_numbers("target_weights", weights, dtype),
        "n_targets": plan.targets,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
    }


def _targets(number: int, plan: SumPlan, score: int, tree: int, is_leaf: Any) -> tuple[Any, Any, Any, Any]:
    leaves = np.flatnonzero(is_leaf)
    addends = list(plan.addends(score, tree))
    return (
        np.full(leaves.size * len(addends), number),
        np.repeat(leaves, len(addends)),
        np.tile([column for column, _ in addends], leaves.size),
        np.stack([values[leaves] for _, values in addends], axis=1).ravel(),
    )


def _numbers(name: str, values: Any, dtype: np.dtype[Any]) -> dict[str, Any]:
    """An attribute of float32 numbers, or its float64 variant."""
    if dtype != FLOAT64:
        return {name: values.astype(np.float32).tolist()}
    from onnx import numpy_helper

    return {f"{name}_as_tensor": numpy_helper.from_array(values.astype(np.float64), name)}
