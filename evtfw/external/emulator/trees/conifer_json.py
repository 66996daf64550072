"""Reads conifer's own models: the JSON file that each of its projects has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.trees.ensemble import Ensemble, Tree

KIND: Final = "conifer"


def read_document(document: Mapping[str, Any]) -> Ensemble:
    """Read a model from the contents of a file.

    Raises:
        ConfigurationError: it is damaged, or has oblique splits.
    """
    try:
        return _read(document)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigurationError(
            f"the conifer model is damaged ({type(error).__name__}: {error}); save it anew with model.save()"
        ) from error


def _read(document: Mapping[str, Any]) -> Ensemble:
    numbers = document.get("feature_map") or {}
    scores = 1 if document["n_classes"] == 2 else int(document["n_classes"])
    rounds = [[_tree(tree) for tree in row[:scores]] for row in document["trees"]]
    return Ensemble(
        kind=KIND,
        features=int(document["n_features"]),
        trees=tuple(zip(*rounds, strict=True)),
        # A random forest's has a value for each of two classes, of which conifer's C++ takes the first.
        initial=np.asarray(document["init_predict"], np.float64)[:scores],
        comparison="<" if document.get("splitting_convention") == "<" else "<=",
        norm=float(document["norm"]),
        feature_names=tuple(sorted(numbers, key=numbers.__getitem__)),
        formats=document.get("config"),
    )


def _tree(tree: Mapping[str, Any]) -> Tree:
    feature = np.asarray(tree["feature"], np.int64)
    left = np.where(feature == -2, -1, np.asarray(tree["children_left"], np.int64))
    weights = np.asarray(tree.get("weight", ()), np.float64)
    if weights.size:
        splits = np.flatnonzero(feature != -2)
        expected = np.zeros((splits.size, weights.shape[1]))
        expected[np.arange(splits.size), feature[splits]] = 1
        if not np.array_equal(weights[splits], expected):
            raise ConfigurationError(
                "the conifer model has oblique splits (of weighted sums of features); only splits of one feature are "
                "supported: train it with axis-aligned splits"
            )
    return Tree.of(feature, tree["threshold"], left, tree["children_right"], tree["value"])
