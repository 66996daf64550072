"""The shipped jet classifiers: their cards, that their sources give them, what they compute, and how good they are."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from evtfw.data import path
from evtfw.external.emulator.card import ModelCard
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.modules import FEATURES
from models.l1jets.card import scaling_of_card
from models.l1jets.convert import NAMES, SOURCES, converted, top_scores, tree_scores
from models.l1jets.dataset import read_sample
from models.toptag.dataset import read_sample as read_images
from models.toptag.metrics import evaluate_scores
from models.toptag.onnx_model import top_probability

IMAGES = 200


@pytest.fixture(scope="module")
def sample():
    return read_sample([path("toptag_sample.root")])


@pytest.fixture(scope="module")
def inputs(sample):
    return scaling_of_card(path("l1jets.json"))(sample.features)


def weights_and_formats():
    """Weights and biases of the six-bit network's source, with the formats that they are trained for."""
    graph = onnx.load(SOURCES / "l1jets_q6.onnx").graph
    layers = json.loads((SOURCES / "l1jets_q6.json").read_text())["LayerName"]
    for tensor in graph.initializer:
        layer, _, which = tensor.name.rpartition("_")
        formats = FixedPoint.parse(layers[layer]["Precision"][which])
        yield layer, which, numpy_helper.to_array(tensor).astype(np.float64), formats


# Cards


def test_card_of_the_network_describes_it():
    card = json.loads(path("l1jets.json").read_text())
    content = path("l1jets.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert card["inputs"][0]["columns"] == list(FEATURES)
    assert len(card["scaling"]["mean"]) == len(card["scaling"]["std"]) == len(FEATURES)
    assert not set(card["training"]["files"]) & set(card["held_out"]["files"])
    assert card["held_out"]["auc"] > 0.975


@pytest.mark.parametrize("name", [*NAMES, "toptag"])
def test_cards_of_the_emulated_models_say_how_good_they_are(name):
    model = path(f"{name}_fpga.onnx")
    card = ModelCard.read(model)
    assert card.name == name
    assert hashlib.sha256(model.read_bytes()).hexdigest() == card.sha256
    assert card.device
    assert "20001 jets, as emulated: AUC 0.9" in card.notes[-1]


@pytest.mark.parametrize("name", NAMES)
def test_the_sources_in_the_repository_give_the_shipped_models(name, inputs, tmp_path):
    made, shipped = converted(name, tmp_path), path(f"{name}_fpga.onnx")
    rows = np.concatenate([inputs, 10 * inputs])
    assert top_scores(made, rows).tobytes() == top_scores(shipped, rows).tobytes()
    ours, theirs = ModelCard.read(made), ModelCard.read(shipped)
    assert (ours.source, ours.format, ours.trees) == (theirs.source, theirs.format, theirs.trees)


# What they compute


def test_weights_of_the_six_bit_network_are_six_bit_numbers():
    for layer, which, values, formats in weights_and_formats():
        assert formats.width == 6, (layer, which)
        assert np.array_equal(values, formats.quantise(values)), (layer, which)


def test_the_six_bit_network_is_the_one_that_was_trained(inputs):
    """By NumPy, in integers times powers of two: a jet with larger logits never has a lower score."""
    layers = json.loads((SOURCES / "l1jets_q6.json").read_text())["LayerName"]
    constants = {(layer, which): values for layer, which, values, _ in weights_and_formats()}
    values = FixedPoint.parse(layers["features"]["Precision"]["result"]).quantise(inputs.astype(np.float64))
    for number in range(1, 5):
        values = values @ constants[f"dense_{number}", "weight"] + constants[f"dense_{number}", "bias"]
        if number < 4:
            relu = FixedPoint.parse(layers[f"relu_{number}"]["Precision"]["result"])
            values = relu.quantise(np.maximum(values, 0.0))
    values = FixedPoint.parse(layers["dense_4"]["Precision"]["result"]).quantise(values)
    difference = values[:, 0] - values[:, 1]
    scores = top_scores(path("l1jets_q6_fpga.onnx"), inputs)
    assert np.all(np.diff(scores[np.argsort(difference, kind="stable")]) >= 0)
    assert np.abs(scores - 1 / (1 + np.exp(-difference))).max() < 0.02


def test_emulated_trees_are_near_those_that_xgboost_grew(inputs):
    grown = tree_scores(SOURCES / "l1jets_trees.json", inputs)
    difference = np.abs(top_scores(path("l1jets_trees_fpga.onnx"), inputs) - grown)
    assert np.median(difference) < 0.005
    # A feature next to a threshold may fall on the other side of it once both are rounded.
    assert np.quantile(difference, 0.99) < 0.1


# How good they are


@pytest.mark.parametrize("file", ["l1jets.onnx", "l1jets_q6_fpga.onnx", "l1jets_trees_fpga.onnx"])
def test_versions_tell_tops_from_qcd_jets(sample, inputs, file):
    metrics = evaluate_scores(top_scores(path(file), inputs), sample.is_top)
    # Statistical uncertainty of the AUC with 2000 jets: 0.004; held out: 0.976 to 0.980.
    assert metrics.auc > 0.965
    assert metrics.accuracy > 0.90


def test_eight_bits_decide_as_floating_point_does():
    images = read_images([path("toptag_sample.root")]).images[:IMAGES]
    emulated, floating = (top_probability(path(name), images) for name in ("toptag_fpga.onnx", "toptag.onnx"))
    assert np.mean((emulated > 0.5) == (floating > 0.5)) >= 0.98
    assert np.abs(emulated - floating).mean() < 0.02
