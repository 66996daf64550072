"""Trees as they were read predict what their library predicts."""

import pickle
import sys

import hypothesis
import joblib
import lightgbm
import numpy as np
import pytest
import sklearn.ensemble
import sklearn.tree
import xgboost
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator import trees
from evtfw.external.emulator.trees import ubjson
from tests.external.emulator.trees import models

few = hypothesis.settings(max_examples=5)
seeds = st.integers(0, 2**31 - 1)
depths = st.integers(1, 5)
counts = st.integers(1, 6)
class_counts = st.integers(2, 4)


def columns(values):
    """Scores, [rows, scores], as the emulator has them."""
    return np.reshape(values, (len(values), -1))


# scikit-learn


@few
@hypothesis.given(seeds, depths, counts, class_counts, st.sampled_from([None, "zero"]))
def test_gradient_boosting_classifier(seed, depth, count, number, init):
    rows, target = models.sample(60, seed=seed)
    kind = sklearn.ensemble.GradientBoostingClassifier
    model = kind(n_estimators=count, max_depth=depth, random_state=0, init=init).fit(
        rows, models.classes(target, number)
    )
    np.testing.assert_allclose(trees.read(model).scores(rows), columns(model.decision_function(rows)), atol=1e-12)


@few
@hypothesis.given(seeds, depths, counts, st.sampled_from(["squared_error", "huber"]))
def test_gradient_boosting_regressor(seed, depth, count, loss):
    rows, target = models.sample(60, seed=seed)
    kind = sklearn.ensemble.GradientBoostingRegressor
    model = kind(n_estimators=count, max_depth=depth, random_state=0, loss=loss).fit(rows, target)
    np.testing.assert_allclose(trees.read(model).scores(rows), columns(model.predict(rows)), atol=1e-12)


@few
@hypothesis.given(seeds, depths, counts, class_counts)
@threadpool_limits.wrap(limits=1)
def test_hist_gradient_boosting(seed, depth, count, number):
    rows, target = models.sample(60, seed=seed)
    settings = {"max_iter": count, "max_depth": depth, "min_samples_leaf": 5}
    model = sklearn.ensemble.HistGradientBoostingClassifier(**settings).fit(rows, models.classes(target, number))
    np.testing.assert_allclose(trees.read(model).scores(rows), columns(model.decision_function(rows)), atol=1e-12)
    model = sklearn.ensemble.HistGradientBoostingRegressor(**settings).fit(rows, target)
    np.testing.assert_allclose(trees.read(model).scores(rows), columns(model.predict(rows)), atol=1e-12)


@few
@hypothesis.given(seeds, depths, counts, class_counts, st.sampled_from(["RandomForest", "ExtraTrees"]))
def test_forests(seed, depth, count, number, family):
    rows, target = models.sample(60, seed=seed)
    settings = {"n_estimators": count, "max_depth": depth, "random_state": 0}
    model = getattr(sklearn.ensemble, f"{family}Classifier")(**settings).fit(rows, models.classes(target, number))
    shares = model.predict_proba(rows)
    expected = shares[:, :1] if number == 2 else shares
    np.testing.assert_allclose(trees.read(model).scores(rows), expected, atol=1e-12)
    model = getattr(sklearn.ensemble, f"{family}Regressor")(**settings).fit(rows, target)
    np.testing.assert_allclose(trees.read(model).scores(rows), columns(model.predict(rows)), atol=1e-12)


def test_a_single_tree():
    rows, target = models.sample(60)
    model = sklearn.tree.DecisionTreeRegressor(max_depth=4).fit(rows, target)
    np.testing.assert_allclose(trees.read(model).scores(rows), columns(model.predict(rows)), atol=1e-12)


# XGBoost

OBJECTIVES = ["binary:logistic", "multi:softprob", "reg:squarederror", "count:poisson", "reg:quantileerror"]


def boosted(objective, rows, target, count, **settings):
    label = target
    if objective == "count:poisson":
        label = np.floor(np.abs(target))
    elif objective.startswith(("binary", "multi")):
        number = 2 if objective.startswith("binary") else 3
        label = models.classes(target, number)
        settings |= {"num_class": 3} if number == 3 else {}
    elif objective == "reg:quantileerror":
        settings["quantile_alpha"] = [0.1, 0.9]
    return xgboost.train({"objective": objective, "nthread": 1, **settings}, xgboost.DMatrix(rows, label), count)


def margins(booster, rows):
    return columns(booster.predict(xgboost.DMatrix(rows), output_margin=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.filterwarnings("ignore:.*is deprecated")  # dart, as a booster of its own
@few
@hypothesis.given(
    seed=seeds, depth=depths, count=counts, booster=st.sampled_from(["gbtree", "dart"]), parallel=st.integers(1, 2)
)
def test_xgboost(objective, seed, depth, count, booster, parallel):
    rows, target = models.sample(60, seed=seed)
    settings = {"max_depth": depth, "booster": booster, "num_parallel_tree": parallel, "subsample": 0.7, "seed": 0}
    settings |= {"rate_drop": 0.5} if booster == "dart" else {}
    model = boosted(objective, rows, target, count, **settings)
    np.testing.assert_allclose(trees.read(model).scores(rows), margins(model, rows), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("suffix", [".json", ".ubj"])
def test_xgboost_file(suffix, tmp_path):
    file = tmp_path / f"model{suffix}"
    models.multiclass().save_model(file)
    rows, _ = models.sample(100)
    assert np.array_equal(trees.read(file).scores(rows), trees.read(models.multiclass()).scores(rows))


def test_xgboost_pruned_trees_have_no_holes():
    rows, target = models.sample(300)
    model = boosted("reg:squarederror", rows, target, 5, tree_method="exact", gamma=20.0, max_depth=6)
    np.testing.assert_allclose(trees.read(model).scores(rows), margins(model, rows), rtol=2e-6, atol=2e-6)


def test_xgboost_estimator_stops_where_its_own_prediction_stops():
    rows, target = models.sample(400)
    label = models.classes(target, 2)
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=2, learning_rate=1.0, n_jobs=1)
    model.fit(rows[:200], label[:200], eval_set=[(rows[200:], label[200:])], verbose=False)
    found = trees.read(model)
    assert len(found.trees[0]) == model.best_iteration + 1
    np.testing.assert_allclose(found.scores(rows)[:, 0], model.predict(rows, output_margin=True), rtol=1e-5, atol=1e-5)


def test_xgboost_feature_names():
    rows, target = models.sample(60)
    data = xgboost.DMatrix(rows, target, feature_names=list("abcde"))
    assert trees.read(xgboost.train({"nthread": 1}, data, 1)).feature_names == tuple("abcde")


@pytest.mark.parametrize("data", [b"", b"{", b"[$d#U\x09", b"?", b"{U\x01a", b"SU\x05ab", b"[" * 10_000])
def test_damaged_ubjson(data):
    with pytest.raises(ValueError, match="no UBJSON"):
        ubjson.loads(data)


def test_ubjson():
    text = b"{U\x01a[ZTF]U\x01b[$U#U\x03\x01\x02\x03U\x01cSU\x02hiU\x01d{#U\x01U\x01eI\xff\xfe}"
    found = ubjson.loads(text)
    assert found.pop("b").tolist() == [1, 2, 3]
    assert found == {"a": [None, True, False], "c": "hi", "d": {"e": -2}}


# LightGBM


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression", "poisson"])
@pytest.mark.parametrize("boosting", ["gbdt", "dart", "rf"])
@hypothesis.settings(max_examples=2)
@hypothesis.given(seed=seeds, leaves=st.integers(2, 12), count=counts)
def test_lightgbm(objective, boosting, seed, leaves, count):
    rows, target = models.sample(100, seed=seed)
    label = {"binary": models.classes(target, 2), "multiclass": models.classes(target, 3)}.get(objective, abs(target))
    settings = {"num_leaves": leaves, "min_data_in_leaf": 5, "boosting": boosting, "num_threads": 1, "verbose": -1}
    settings |= {"num_class": 3} if objective == "multiclass" else {}
    settings |= {"bagging_freq": 1, "bagging_fraction": 0.6} if boosting == "rf" else {}
    model = lightgbm.train({"objective": objective, **settings}, lightgbm.Dataset(rows, label), count)
    found = trees.read(model).scores(rows)
    expected = columns(model.predict(rows, raw_score=True)) / (count if boosting == "rf" else 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_lightgbm_file_and_estimator(tmp_path):
    rows, target = models.sample(100)
    model = lightgbm.LGBMRegressor(n_estimators=3, n_jobs=1, verbose=-1).fit(rows, target)
    model.booster_.save_model(tmp_path / "model.txt")
    for source in (model, tmp_path / "model.txt"):
        np.testing.assert_allclose(trees.read(source).scores(rows)[:, 0], model.predict(rows), rtol=1e-12)


# Other files


def test_conifer_file(tmp_path):
    from conifer.backends.cpp.writer import CPPModel
    from conifer.converters import sklearn as converter

    formats = {"InputPrecision": "ap_fixed<12,6>", "ScorePrecision": "ap_fixed<18,8>"}
    config = {"OutputDir": str(tmp_path), "ProjectName": "model", "Backend": "cpp", **formats}
    CPPModel(converter.convert(models.binary()), config).save()
    rows, _ = models.sample(100)
    assert np.array_equal(trees.read(tmp_path / "model.json").scores(rows), trees.read(models.binary()).scores(rows))
    _, card, _ = trees.convert(tmp_path / "model.json", format="native", name="m")
    assert (card.threshold_format, card.score_format) == ("ap_fixed<12,6>", "ap_fixed<18,8>")
    with pytest.raises(ConfigurationError, match="says nothing of number formats"):
        trees.convert(models.binary(), format="native", name="m")


@pytest.mark.parametrize(("suffix", "dump"), [(".pkl", pickle.dump), (".joblib", joblib.dump)])
def test_pickles_are_opened_if_trusted(suffix, dump, tmp_path):
    file = tmp_path / f"model{suffix}"
    with file.open("wb") as opened:
        dump(models.binary(), opened)
    with pytest.raises(ConfigurationError, match="runs whatever code"):
        trees.read(file)
    rows, _ = models.sample(10)
    found = trees.read(file, trust_pickle=True).scores(rows)
    assert np.array_equal(found, trees.read(models.binary()).scores(rows))


def test_skops_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(ConfigurationError, match="pip install skops"):
        trees.read(tmp_path / "model.skops")
