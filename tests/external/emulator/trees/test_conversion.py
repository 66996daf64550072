"""The model and its card."""

import json

import numpy as np
import onnxruntime
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator import trees
from evtfw.external.emulator.trees import TreeFormats
from tests.external.emulator.trees import models


def run(model, rows):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, {"features": rows}), strict=True))


def test_card_counts_trees():
    _, card, _ = trees.convert(models.multiclass(), format="threshold=ap_fixed<12,6>; score=ap_fixed<18,8>", name="m")
    ensemble = trees.read(models.multiclass())
    assert (card.classes, card.trees, card.depth) == (3, 102, 4)
    assert card.leaves == card.splits + card.trees == sum(t.is_leaf.sum() for row in ensemble.trees for t in row)
    assert (card.threshold_format, card.score_format) == ("ap_fixed<12,6>", "ap_fixed<18,8>")


def test_fine_formats_approach_the_library():
    rows, _ = models.sample(200)
    model, _, notes = trees.convert(models.regression(), format="ap_fixed<40,20>", name="m")
    scores = run(model, rows)["scores"]
    assert scores.dtype == np.float64
    assert "float64" in "".join(notes)
    np.testing.assert_allclose(scores[:, 0], models.regression().predict(rows), atol=2e-3)


def test_probabilities_are_added_if_asked_for():
    rows, _ = models.sample(50)
    model, _, _ = trees.convert(models.binary(), format="ap_fixed<24,10>", name="m", has_probabilities=True)
    expected = models.binary().predict_proba(rows)[:, 1:]
    np.testing.assert_allclose(run(model, rows)["probabilities"], expected, atol=2e-3)
    model, _, _ = trees.convert(models.multiclass(), format="ap_fixed<24,10>", name="m", has_probabilities=True)
    np.testing.assert_allclose(run(model, rows)["probabilities"].sum(axis=1), 1, atol=1e-6)
    with pytest.raises(ConfigurationError, match="no probabilities"):
        trees.convert(models.regression(), format="ap_fixed<24,10>", name="m", has_probabilities=True)


def test_names_of_features_go_with_the_model():
    names = json.loads(trees.convert(models.regression(), format="ap_fixed<8,4>", name="m")[0].metadata_props[0].value)
    assert names == [f"Column_{i}" for i in range(models.FEATURES)]


def test_designers_are_warned():
    _, _, notes = trees.convert(models.binary(), format="ap_fixed<8,1,TRN,SAT>", name="m")
    text = "\n".join(notes)
    for words in (
        "multiplies each feature by 1",
        "multiplies the scores by 1",
        "thresholds are beyond",
        "sums can leave",
    ):
        assert words in text
    assert trees.convert(models.binary(), format="ap_fixed<18,8>", name="m")[2] == ()


def test_which_sources_hold_trees():
    assert trees.holds_trees(models.binary())
    assert trees.holds_trees("model.ubj")
    assert not trees.holds_trees("model.onnx")
    assert not trees.holds_trees(object())


@pytest.mark.parametrize(
    "given",
    [
        "threshold=ap_fixed<12,6>; score=ap_fixed<18,8>",
        "precision=ap_fixed<18,8>; input=ap_fixed<12,6>",
        {"Precision": "ap_fixed<18,8>", "ThresholdPrecision": "ap_fixed<12,6>", "Backend": "cpp"},
        {"input_precision": "ap_fixed<12,6>", "score_precision": "ap_fixed<18,8>"},
    ],
)
def test_formats(given):
    formats = TreeFormats.parse(given)
    assert str(formats) == "threshold=ap_fixed<12,6>; score=ap_fixed<18,8>"
    assert TreeFormats.parse(str(formats)) == formats
    assert str(TreeFormats.parse("ap_fixed<18,8>")) == "ap_fixed<18,8>"
