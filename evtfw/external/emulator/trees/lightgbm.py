"""Reads LightGBM's models as its text files hold them (``Tree::ToString`` of its sources)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.trees.ensemble import Ensemble, Link, Tree

KIND: Final = "lightgbm"
FIRST_LINE: Final = "tree"
"""Of every model file."""

_CATEGORICAL, _MISSING = 0b0001, 0b1100  # bits of decision_type


def read(model: Any) -> Ensemble:
    """Read a Booster, or a fitted estimator of LightGBM's scikit-learn interface.

    The scores are those of ``predict(…, raw_score=True)``, of a random forest their mean: up to the best iteration, if
    training stopped early.

    Raises:
        ConfigurationError: it is not fitted, or has what the trees of a device cannot do.
    """
    if not hasattr(model, "model_to_string"):
        if not model.__sklearn_is_fitted__():
            raise ConfigurationError(f"the {type(model).__name__} is not fitted; call its fit() first")
        model = model.booster_
    return read_text(model.model_to_string())


def read_text(text: str) -> Ensemble:
    """Read a model from the contents of a file.

    Raises:
        ConfigurationError: it is damaged, or has what the trees of a device cannot do.
    """
    header, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    try:
        return _read(_fields(header), [_fields(block) for block in blocks], is_mean="\naverage_output" in header)
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigurationError(
            f"the LightGBM model is damaged ({type(error).__name__}: {error}); save it anew with "
            f"Booster.save_model('model.txt')"
        ) from error


def _fields(block: str) -> dict[str, str]:
    lines = (line.partition("=") for line in block.splitlines())
    return {name: value for name, equals, value in lines if equals}


def _read(header: dict[str, str], blocks: list[dict[str, str]], *, is_mean: bool) -> Ensemble:
    scores = int(header["num_tree_per_iteration"])
    rounds = len(blocks) // scores
    trees = [_tree(block, number, 1 / rounds if is_mean else 1.0) for number, block in enumerate(blocks)]
    objective = header.get("objective", "").split() or [""]
    slope = float(next((word[8:] for word in objective if word.startswith("sigmoid:")), 1.0))
    notes = () if slope == 1 else (f"LightGBM's probability is the logistic function of {slope:g} times the score",)
    return Ensemble(
        kind=KIND,
        features=int(header["max_feature_idx"]) + 1,
        trees=tuple(tuple(trees[score::scores]) for score in range(scores)),
        initial=np.zeros(scores),
        comparison="<=",
        link=_link(objective[0], slope),
        feature_names=tuple(header.get("feature_names", "").split()),
        notes=notes,
    )


def _tree(block: dict[str, str], number: int, factor: float) -> Tree:
    def numbers(name: str, dtype: type) -> Any:
        return np.array(block.get(name, "").split(), dtype)

    values = numbers("leaf_value", np.float64) * factor
    if int(block.get("is_linear", "0")):
        raise ConfigurationError(
            f"tree {number} of the LightGBM model has linear functions in its leaves, and a device adds constants "
            f"only; train it with linear_tree=false"
        )
    splits = int(block["num_leaves"]) - 1
    if splits == 0:
        return Tree.of([0], [0.0], [-1], [-1], values[:1])
    _check_decisions(numbers("decision_type", np.int64), number)
    # Nodes first, leaves behind them; the file numbers leaves -1, -2, …
    left, right = (
        np.where(child < 0, splits + ~child, child) for child in (numbers(f"{s}_child", np.int64) for s in _SIDES)
    )
    none = np.full(splits + 1, -1)
    return Tree.of(
        np.concatenate([numbers("split_feature", np.int64), none]),
        np.concatenate([numbers("threshold", np.float64), np.zeros(splits + 1)]),
        np.concatenate([left, none]),
        np.concatenate([right, none]),
        np.concatenate([np.zeros(splits), values]),
    )


_SIDES: Final = ("left", "right")


def _check_decisions(kinds: Any, number: int) -> None:
    if np.any(kinds & _CATEGORICAL):
        raise ConfigurationError(
            f"tree {number} of the LightGBM model splits by sets of categories, and a device compares numbers only; "
            f"train it on encoded columns, without categorical_feature"
        )
    if np.any(kinds & _MISSING):
        raise ConfigurationError(
            f"tree {number} of the LightGBM model sends missing values (NaN, or 0 by zero_as_missing) their own way, "
            f"and fixed-point numbers have none; fill them before training, or train with use_missing=false"
        )


def _link(objective: str, slope: float) -> Link:
    if objective == "multiclass":
        return "softmax"
    is_logistic = objective in ("binary", "multiclassova", "cross_entropy", "xentropy") and slope == 1
    return "logistic" if is_logistic else "identity"
