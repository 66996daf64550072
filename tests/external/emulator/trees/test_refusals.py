"""What the trees of a device cannot do is refused, and the message says what to do instead."""

import json

import lightgbm
import numpy as np
import pytest
import sklearn.ensemble
import sklearn.linear_model
import sklearn.pipeline
import xgboost
from threadpoolctl import threadpool_limits

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator import trees
from evtfw.external.emulator.trees import Ensemble, Tree, TreeFormats
from tests.external.emulator.trees import models


def refused(source, match):
    with pytest.raises(ConfigurationError, match=match):
        trees.read(source)


def lightgbm_model(rows, target, *, objective="regression", **settings):
    settings = {"objective": objective, "num_threads": 1, "verbose": -1, "min_data_in_leaf": 2, **settings}
    categories = settings.pop("categorical", "auto")
    return lightgbm.train(settings, lightgbm.Dataset(rows, target, categorical_feature=categories), 2)


def test_missing_values_of_lightgbm():
    rows, target = models.sample(60)
    rows[::3, 0] = np.nan
    rows[::3, 1] = np.nan
    refused(lightgbm_model(rows, target, interaction_constraints=[[0], [1]]), "use_missing=false")


def test_zero_as_missing_of_lightgbm():
    refused(lightgbm_model(*models.sample(60), zero_as_missing=True), "zero_as_missing")


def test_linear_leaves_of_lightgbm():
    refused(lightgbm_model(*models.sample(60), linear_tree=True), "linear_tree=false")


def test_categories_of_lightgbm():
    rows, target = models.sample(200)
    category = np.arange(200) % 7
    rows[:, 0] = category
    model = lightgbm_model(rows, target + 9 * (category % 2), categorical=[0], min_data_per_group=5)
    refused(model, "without categorical_feature")


def test_categories_of_xgboost():
    rows, target = models.sample(200)
    category = np.arange(200) % 7
    rows[:, 0] = category
    types = ["c", *["q"] * (models.FEATURES - 1)]
    data = xgboost.DMatrix(rows, target + 9 * (category % 2), feature_types=types, enable_categorical=True)
    refused(xgboost.train({"nthread": 1, "max_cat_to_onehot": 1}, data, 2), "enable_categorical")


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_linear_booster_of_xgboost():
    rows, target = models.sample(60)
    settings = {"booster": "gblinear", "updater": "coord_descent", "nthread": 1}
    refused(xgboost.train(settings, xgboost.DMatrix(rows, target), 1), "train a gbtree")


def test_vector_leaves_of_xgboost():
    rows, target = models.sample(60)
    settings = {"multi_strategy": "multi_output_tree", "tree_method": "hist", "nthread": 1}
    model = xgboost.train(settings, xgboost.DMatrix(rows, np.stack([target, -target], axis=1)), 1)
    refused(model, "one_output_per_tree")


def test_unknown_objective_of_xgboost(tmp_path):
    document = json.loads(bytes(models.multiclass().save_raw("json")))
    document["learner"]["objective"]["name"] = "my:own"
    (tmp_path / "model.json").write_text(json.dumps(document))
    refused(tmp_path / "model.json", r"model\.json: .*'my:own' is unknown")


@threadpool_limits.wrap(limits=1)
def test_categories_of_scikit_learn():
    rows, target = models.sample(200)
    rows[:, 0] = np.arange(200) % 7
    kind = sklearn.ensemble.HistGradientBoostingRegressor
    model = kind(max_iter=2, categorical_features=[0]).fit(rows, target + 9 * (rows[:, 0] % 2))
    refused(model, "encoded columns")


def test_other_estimators_of_scikit_learn():
    rows, target = models.sample(60)
    refused(sklearn.linear_model.LinearRegression().fit(rows, target), "LinearRegression cannot be converted")
    refused(sklearn.ensemble.RandomForestRegressor(), "not fitted")
    refused(xgboost.XGBRegressor(), "not fitted")
    refused(lightgbm.LGBMRegressor(), "not fitted")
    refused(sklearn.pipeline.make_pipeline(sklearn.linear_model.LinearRegression()), r"pipeline\[-1\]")
    several = sklearn.ensemble.RandomForestRegressor(2).fit(rows, np.stack([target, target], axis=1))
    refused(several, "2 targets at once")
    start = sklearn.linear_model.LinearRegression()
    refused(sklearn.ensemble.GradientBoostingRegressor(init=start, n_estimators=1).fit(rows, target), "init=None")


def test_oblique_splits_of_conifer(tmp_path):
    tree = {"feature": [0, -2, -2], "threshold": [0.5, 0, 0], "value": [0, 1, 2], "weight": [[1, 1], [0, 0], [0, 0]]}
    tree |= {"children_left": [1, -1, -1], "children_right": [2, -1, -1]}
    document = {"n_classes": 2, "n_features": 2, "n_trees": 1, "init_predict": [0], "norm": 1, "trees": [[tree]]}
    (tmp_path / "model.json").write_text(json.dumps(document))
    refused(tmp_path / "model.json", "axis-aligned")
    tree["weight"][0] = [1, 0]
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert trees.read(tmp_path / "model.json").scores(np.array([[0.5, 0], [0.6, 0]])).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.json", "{", "damaged"),
        ("a.json", "[]", "neither a model of XGBoost nor one of conifer"),
        ("a.json", '{"learner": {}}', "damaged, or of a version before 1.0"),
        ("a.json", "{}", "conifer model is damaged"),
        ("a.ubj", "{", "damaged"),
        ("a.txt", "hello", "no known model of trees"),
        ("a.txt", "tree\nnum_class=1\n", "LightGBM model is damaged"),
        ("a.md", "hello", "no known model of trees"),
    ],
)
def test_files_that_are_none(name, text, match, tmp_path):
    (tmp_path / name).write_text(text)
    refused(tmp_path / name, match)


def test_no_file(tmp_path):
    refused(tmp_path / "model.txt", "No such file")


def test_no_trees():
    refused(object(), "holds no trees")


@pytest.mark.parametrize(
    ("left", "right"), [([1, -1, -1], [1, -1, -1]), ([1, -1, -1], [3, -1, -1]), ([1, 0, -1], [2, 0, -1]), ([], [])]
)
def test_damaged_trees(left, right):
    count = len(left)
    with pytest.raises(ConfigurationError, match="damaged"):
        Tree.of([0] * count, [0.0] * count, left, right, [0.0] * count)


def test_damaged_ensembles():
    tree = Tree.of([3, -2, -2], [0.5, 0, 0], [1, -1, -1], [2, -1, -1], [0, 1, 2])
    with pytest.raises(ConfigurationError, match="compares feature 3"):
        Ensemble("none", 3, ((tree,),), np.zeros(1), "<")
    with pytest.raises(ConfigurationError, match="as many trees"):
        Ensemble("none", 4, ((tree,), ()), np.zeros(2), "<")
    with pytest.raises(ConfigurationError, match="not finite"):
        Ensemble("none", 4, ((tree,),), np.array([np.nan]), "<")
    with pytest.raises(ConfigurationError, match="not finite"):
        Tree.of([3, -2, -2], [np.inf, 0, 0], [1, -1, -1], [2, -1, -1], [0, 1, 2])


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("float", "no fixed-point format"),
        ("threshold=ap_fixed<8,4>", "lack one for scores"),
        ("treshold=ap_fixed<8,4>", "did you mean 'threshold'"),
        ({"Backend": "cpp"}, "lack one for thresholds"),
        (
            {
                "InputPrecision": "ap_fixed<9,4>",
                "ThresholdPrecision": "ap_fixed<8,4>",
                "ScorePrecision": "ap_fixed<8,4>",
            },
            "same",
        ),
    ],
)
def test_formats_that_are_none(given, match):
    with pytest.raises(ConfigurationError, match=match):
        TreeFormats.parse(given)
