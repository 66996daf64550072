"""Reads XGBoost's models as its JSON and UBJSON files hold them (``doc/model.schema`` of its sources)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.trees.ensemble import Ensemble, Floats, Link, Tree

KIND: Final = "xgboost"

_LOGISTIC: Final = ("binary:logistic", "reg:logistic")
_LOGARITHMIC: Final = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
_PLAIN: Final = (
    "reg:squarederror",
    "reg:linear",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "reg:quantileerror",
    "binary:hinge",
    "multi:softprob",
    "multi:softmax",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
)
"""Objectives by the function that takes ``base_score`` to the margin that sums start from (``ProbToMargin``)."""


def read(model: Any) -> Ensemble:
    """Read a Booster, or a fitted estimator of XGBoost's scikit-learn interface.

    The scores are the margins: ``predict(…, output_margin=True)``. Of an estimator that stopped early only the rounds
    up to the best count, as in its own ``predict``.

    Raises:
        ConfigurationError: it is not fitted, or has what the trees of a device cannot do.
    """
    if not hasattr(model, "save_raw"):
        if not model.__sklearn_is_fitted__():
            raise ConfigurationError(f"the {type(model).__name__} is not fitted; call its fit() first")
        booster = model.get_booster()
        best = booster.attributes().get("best_iteration")
        model = booster if best is None else booster[: int(best) + 1]
    return read_document(json.loads(bytes(model.save_raw(raw_format="json"))))


def read_document(document: Mapping[str, Any]) -> Ensemble:
    """Read a model from the contents of a file.

    Args:
        document: as parsed from JSON or UBJSON.

    Raises:
        ConfigurationError: it is damaged, or has what the trees of a device cannot do.
    """
    try:
        return _read(document["learner"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigurationError(
            f"the XGBoost model is damaged, or of a version before 1.0 ({type(error).__name__}: {error}); save it anew "
            f"with Booster.save_model('model.json')"
        ) from error


def _read(learner: Mapping[str, Any]) -> Ensemble:
    booster = learner["gradient_booster"]
    if booster["name"] not in ("gbtree", "dart"):
        raise ConfigurationError(f"the XGBoost booster is '{booster['name']}', which has no trees; train a gbtree")
    model = booster["gbtree"]["model"] if booster["name"] == "dart" else booster["model"]
    # Predictions of dropped trees are scaled; leaves are float32, and so is their product with the scale. From version
    # 3.4 on the scales stand beside the trees.
    scales = booster.get("weight_drop") or model.get("weight_drop") or np.ones(len(model["trees"]))
    factors = np.asarray(scales, np.float32)
    parameters = learner["learner_model_param"]
    scores = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    trees: list[list[Tree]] = [[] for _ in range(scores)]
    for number, (tree, score, factor) in enumerate(zip(model["trees"], model["tree_info"], factors, strict=True)):
        trees[score].append(_tree(tree, number, factor))
    objective = str(learner["objective"]["name"])
    return Ensemble(
        kind=KIND,
        features=int(parameters["num_feature"]),
        trees=tuple(map(tuple, trees)),
        initial=_initial(parameters["base_score"], objective, scores),
        comparison="<",
        link=_link(objective, scores),
        feature_names=tuple(map(str, learner.get("feature_names", ()))),
        notes=_notes(learner.get("attributes", {}), len(trees[0])),
    )


def _tree(tree: Mapping[str, Any], number: int, factor: np.float32) -> Tree:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise ConfigurationError(
            "the XGBoost model has leaves with a vector of scores; train it with multi_strategy='one_output_per_tree'"
        )
    if np.any(np.asarray(tree.get("split_type", ()))):
        raise ConfigurationError(
            f"tree {number} of the XGBoost model splits by sets of categories, and a device compares numbers only; "
            f"train it on encoded columns, without enable_categorical"
        )
    conditions = np.asarray(tree["split_conditions"], np.float32)
    return Tree.of(
        tree["split_indices"], conditions, tree["left_children"], tree["right_children"], conditions * factor
    )


def _initial(base_score: str, objective: str, scores: int) -> Floats:
    """Where the sums start; the file has one number or, from version 3.1, a list of them."""
    given: Sequence[str] = base_score.strip("[]").split(",")
    values = np.array(given, np.float32).astype(np.float64)
    if objective in _LOGISTIC:
        margin = np.log(values / (1 - values))
    elif objective in _LOGARITHMIC:
        margin = np.log(values)
    elif objective in _PLAIN:
        margin = values
    else:
        known = ", ".join(sorted((*_LOGISTIC, *_LOGARITHMIC, *_PLAIN)))
        raise ConfigurationError(
            f"XGBoost's objective '{objective}' is unknown here, so that it is unknown what the sum of the trees "
            f"starts from; known are {known}"
        )
    return np.broadcast_to(margin, scores).copy()


def _link(objective: str, scores: int) -> Link:
    if objective in _LOGISTIC:
        return "logistic"
    return "softmax" if objective.startswith("multi:") and scores > 1 else "identity"


def _notes(attributes: Mapping[str, str], rounds: int) -> tuple[str, ...]:
    missing = "directions of missing values (NaN) are left out: fixed-point numbers have no NaN"
    best = attributes.get("best_iteration")
    if best is None or int(best) + 1 >= rounds:
        return (missing,)
    return (
        missing,
        f"training stopped early: the best round is {best}, but all {rounds} are in the model, as in Booster.predict()",
    )
