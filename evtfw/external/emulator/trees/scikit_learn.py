"""Reads fitted tree ensembles of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.trees.ensemble import Ensemble, Floats, Link, Tree

KIND: Final = "scikit-learn"
FIRST_CLASS_NOTE: Final = (
    "the score is the share of votes for the first of the two classes, as in conifer's firmware of random forests"
)


def read(model: Any) -> Ensemble:
    """Read a fitted estimator of scikit-learn.

    Gradient boosting: the scores are those of ``decision_function``, or the prediction of a regressor. Forests and
    single trees: a regressor's prediction; a classifier's ``predict_proba``, of the first class only if there are two
    (as conifer has it).

    Args:
        model: GradientBoosting…, HistGradientBoosting…, RandomForest…, ExtraTrees… or DecisionTree…, a Classifier or
            a Regressor.

    Raises:
        ConfigurationError: it is no such estimator, is not fitted, or has what the trees of a device cannot do.
    """
    kind = type(model).__name__
    reader = _READERS.get(kind.removesuffix("Classifier").removesuffix("Regressor"))
    if kind == "Pipeline":
        raise ConfigurationError(
            "a scikit-learn Pipeline prepares its input on the host, which no device does; convert its last step, "
            "pipeline[-1], and give the device what the other steps make"
        )
    if reader is None or not kind.endswith(("Classifier", "Regressor")):
        known = [f"{family}{what}" for family in _READERS for what in ("Classifier", "Regressor")]
        raise ConfigurationError(
            f"scikit-learn's {kind} cannot be converted to trees{nearest(kind, known)}; supported are "
            f"{', '.join(known)}"
        )
    if not hasattr(model, "n_features_in_") or not any(hasattr(model, name) for name in _FITTED):
        raise ConfigurationError(f"the {kind} is not fitted; call its fit() first")
    return reader(model)


def _gradient_boosting(model: Any) -> Ensemble:
    if model.init is not None and model.init != "zero" and not type(model.init).__name__.startswith("Dummy"):
        raise ConfigurationError(
            f"the {type(model).__name__} starts from the predictions of a {type(model.init).__name__}, which is no "
            f"tree; the device adds trees to a constant: fit it with init=None or init='zero'"
        )
    # conifer takes the same private method: there is no public one for the constant that sums start from.
    initial = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_))), np.float64)[0]
    rounds = [[_tree(e.tree_, e.tree_.value[:, 0, 0] * model.learning_rate) for e in row] for row in model.estimators_]
    return _ensemble(model, rounds, initial, _link(model, initial.size))


def _hist_gradient_boosting(model: Any) -> Ensemble:
    rounds = [[_hist_tree(model, predictor.nodes) for predictor in row] for row in model._predictors]
    initial = np.ravel(np.asarray(model._baseline_prediction, np.float64))
    return _ensemble(model, rounds, initial, _link(model, initial.size))


def _hist_tree(model: Any, nodes: Any) -> Tree:
    if np.any(nodes["is_categorical"]):
        raise ConfigurationError(
            f"the {type(model).__name__} splits by sets of categories, and a device compares numbers only; fit it with "
            f"categorical_features=None on encoded columns"
        )
    is_leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(is_leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right"))
    return Tree.of(nodes["feature_idx"], nodes["num_threshold"], left, right, nodes["value"])


def _forest(model: Any) -> Ensemble:
    members = getattr(model, "estimators_", [model])
    if model.n_outputs_ != 1:
        raise ConfigurationError(
            f"the {type(model).__name__} predicts {model.n_outputs_} targets at once; convert one for each target"
        )
    if not hasattr(model, "n_classes_"):
        rounds = [[_tree(m.tree_, m.tree_.value[:, 0, 0] / len(members))] for m in members]
        return _ensemble(model, rounds, np.zeros(1), "identity")
    scores = 1 if model.n_classes_ == 2 else model.n_classes_
    rounds = []
    for member in members:
        votes = member.tree_.value  # [nodes, 1, classes]; divided as conifer divides, to the last bit
        shares = (votes / votes.sum(axis=2)[:, np.newaxis] / len(members))[:, 0]
        rounds.append([_tree(member.tree_, shares[:, score]) for score in range(scores)])
    notes = (FIRST_CLASS_NOTE,) if scores == 1 else ()
    return _ensemble(model, rounds, np.zeros(scores), "identity", notes)


def _tree(tree: Any, value: Floats) -> Tree:
    return Tree.of(tree.feature, tree.threshold, tree.children_left, tree.children_right, value)


def _link(model: Any, scores: int) -> Link:
    if type(model).__name__.endswith("Regressor"):
        return "identity"
    return "logistic" if scores == 1 else "softmax"


def _ensemble(
    model: Any, rounds: list[list[Tree]], initial: Floats, link: Link, notes: tuple[str, ...] = ()
) -> Ensemble:
    return Ensemble(
        kind=KIND,
        features=int(model.n_features_in_),
        trees=tuple(zip(*rounds, strict=True)),
        initial=initial,
        comparison="<=",
        link=link,
        feature_names=tuple(map(str, getattr(model, "feature_names_in_", ()))),
        notes=notes,
    )


_READERS: Final[dict[str, Callable[[Any], Ensemble]]] = {
    "GradientBoosting": _gradient_boosting,
    "HistGradientBoosting": _hist_gradient_boosting,
    "RandomForest": _forest,
    "ExtraTrees": _forest,
    "DecisionTree": _forest,
}
_FITTED: Final = ("estimators_", "_predictors", "tree_")
