"""Fitted models of each library and rows that are hard for them."""

import functools
import warnings

import numpy as np

FEATURES = 5


def sample(rows=800, *, seed=0):
    """Features and a smooth target of them, with noise."""
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(rows, FEATURES)) * [1, 1, 3, 0.3, 10]).astype(np.float32)
    target = features[:, 0] + np.sin(2 * features[:, 1]) * features[:, 2] + 0.1 * features[:, 4]
    return features, target + rng.normal(scale=0.1, size=rows)


def classes(target, count):
    """The target in equally likely classes."""
    return np.searchsorted(np.quantile(target, np.arange(1, count) / count), target)


@functools.cache
def binary():
    """scikit-learn, 100 trees of depth 4."""
    from sklearn.ensemble import GradientBoostingClassifier

    features, target = sample()
    return GradientBoostingClassifier(n_estimators=100, max_depth=4, random_state=0).fit(features, classes(target, 2))


@functools.cache
def multiclass():
    """XGBoost, 34 trees of depth 4 for each of three classes."""
    import xgboost

    features, target = sample()
    settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 4, "nthread": 1}
    return xgboost.train(settings, xgboost.DMatrix(features, classes(target, 3)), 34)


@functools.cache
def regression():
    """LightGBM, 100 trees of depth 4."""
    import lightgbm

    features, target = sample()
    settings = {"max_depth": 4, "num_leaves": 16, "learning_rate": 0.2, "num_threads": 1, "verbose": -1}
    return lightgbm.train({"objective": "regression", **settings}, lightgbm.Dataset(features, target), 100)


def hard_rows(ensemble, threshold, count, *, seed=1):
    """Rows at, just below and just above thresholds, before and after these are rounded; far away; beyond the format.

    Args:
        threshold: the format, a `FixedPoint`.
        count: rows.
    """
    rng = np.random.default_rng(seed)
    exact = np.concatenate([tree.threshold[~tree.is_leaf] for row in ensemble.trees for tree in row])
    known = np.concatenate([exact, threshold.quantise(exact), [0, threshold.lowest, threshold.highest]])
    shape = (count // 5, ensemble.features)
    near = rng.choice(known, shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        beside = np.nextafter(near, rng.choice([-np.inf, np.inf], shape).astype(np.float32))
    stepped = rng.choice(known, shape) + rng.integers(-2, 3, shape) * threshold.step / 2
    wrapped = rng.choice(known, shape) + rng.integers(-3, 4, shape) * 2.0**threshold.integer
    spread = rng.normal(size=shape) * 10.0 ** rng.integers(-8, 9, shape)
    return np.concatenate([near, beside, stepped, wrapped, spread]).astype(np.float32)
