"""What stays as it was, and what cannot be rewritten."""

import numpy as np
import onnx
import pytest
from onnx import helper

from benchmarks.resnet50 import SMALL, images, resnet
from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.quantised import rewrite
from tests.external.emulator.quantised.conftest import model_of, run

EYE = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize("written", ["fixed8", "msfp12"])
def test_the_face_of_a_model_stays(written):
    model, rows = resnet(SMALL), {"image": images(8, side=SMALL.side)}
    before = model.SerializeToString()
    rewritten, _, _ = rewrite(model, written, rows)
    onnx.checker.check_model(rewritten, full_check=True)
    assert list(rewritten.graph.input) == list(model.graph.input)
    assert list(rewritten.graph.output) == list(model.graph.output)
    assert model.SerializeToString() == before
    assert rewritten.ir_version <= 10


@pytest.mark.parametrize("written", ["fixed8", "msfp16"])
def test_outputs_do_not_depend_on_the_batch(small, written):
    model, rows = small
    rewritten, _, _ = rewrite(model, written, rows)
    together = run(rewritten, rows)["logits"]
    alone = np.concatenate([run(rewritten, {"image": row[None]})["logits"] for row in rows["image"][:5]])
    np.testing.assert_array_equal(together[:5], alone)


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_old_and_new_opsets_are_rewritten(opset):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["s"])]
    nodes += [helper.make_node("Relu", ["s"], ["r"]), helper.make_node("Gemm", ["r", "w"], ["y"], alpha=0.5)]
    constants = {"w": EYE, "b": np.float32([1, -1, 0.5, 0])}
    model = model_of(nodes, constants, {"x": (4,)}, ["y"], opset)
    rows = {"x": np.random.default_rng(0).integers(-9, 9, (50, 4)).astype(np.float32)}
    for written in ("fixed8", "msfp16"):
        rewritten, cards, _ = rewrite(model, written, rows)
        np.testing.assert_array_equal(run(rewritten, rows)["y"], run(model, rows)["y"])  # small numbers are exact
        assert [card.kind for card in cards] == ["dense", "relu", "dense"], "the sum became a bias"


def test_layers_can_be_kept_in_float(small):
    model, rows = small
    _, cards, notes = rewrite(model, "fixed8", rows, keep=["hidden", "logits"])
    assert {card.name for card in cards if card.kind == "dense" and not card.input_format} == {"hidden", "logits"}
    assert "Gemm 'hidden' is left in float32: as asked" in notes
    with pytest.raises(ConfigurationError, match="no node 'hiden' to keep in float; did you mean 'hidden'"):
        rewrite(model, "fixed8", rows, keep=["hiden"])


def test_products_without_constants_are_left_in_float():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "x"], ["y"], "both"),
    ]
    model = model_of(nodes, {"w": EYE}, {"x": (4, 4)}, ["y"])
    rows = {"x": np.random.default_rng(0).normal(size=(9, 4, 4)).astype(np.float32)}
    for written in ("fixed8", "msfp16"):
        rewritten, _, notes = rewrite(model, written, rows)
        assert "MatMul 'both' is left in float32: its weights are no constants" in notes
        assert abs(run(rewritten, rows)["y"] - run(model, rows)["y"]).max() < 0.1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "none are given; pass some hundred rows"),
        ({"imag": np.ones((1, 32, 32, 3), np.float32)}, "no input is so named; did you mean 'image'"),
        ({"image": np.ones((0, 32, 32, 3), np.float32)}, "calibration has no rows"),
        ({"image": np.full((1, 32, 32, 3), np.nan, np.float32)}, "no numbers"),
    ],
)
def test_calibration_must_fit(small, rows, message):
    with pytest.raises(ConfigurationError, match=message):
        rewrite(small[0], "fixed8", rows)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Relu", ["x"], ["y"])], "nothing to quantise.*it has 1 Relu"),
        ([helper.make_node("MatMul", ["x", "x"], ["y"], "square")], "'square' is left in float32: its weights"),
        ([helper.make_node("Quant", ["x", "w"], ["y"], "quant", domain="qonnx.custom_op.general")], "'Quant' of qonnx"),
        ([helper.make_node("QuantizeLinear", ["x", "s"], ["y"], "round")], "node 'round' .* quantised already"),
    ],
)
def test_what_cannot_be_rewritten_is_named(nodes, message):
    model = model_of(nodes, {"w": EYE, "s": np.float32(1)}, {"x": (4, 4)}, ["y"])
    with pytest.raises(ConfigurationError, match=message):
        rewrite(model, "msfp12")


def test_unknown_formats_are_named(small):
    with pytest.raises(ConfigurationError, match="no number format 'msfp13a'; did you mean 'msfp13'"):
        rewrite(small[0], "msfp13a")
