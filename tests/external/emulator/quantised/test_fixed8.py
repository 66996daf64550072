"""8-bit networks: integer kernels, float operators and a reference of its own give the same bits."""

import numpy as np
import onnx
import pytest
from onnx import helper

import evtfw.data
from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.fixed8 import smallest_exponents
from evtfw.external.emulator.quantised import rewrite
from tests.external.emulator.quantised.conftest import model_of, run
from tests.external.emulator.quantised.reference import Fixed8Reference, scales_of


def assert_same(rewritten, model, rows, names):
    """All three agree in the tensors of these names, to the bit."""
    integer, unfused = run(rewritten, rows), run(rewritten, rows, fused=False)
    expected = Fixed8Reference(model, rewritten).run(rows)
    for name in names:
        np.testing.assert_array_equal(integer[name], unfused[name])
        np.testing.assert_array_equal(integer[name], expected[name])
        assert len(np.unique(integer[name])) > 1, "there is something to compare"


def test_a_residual_network_is_exact(small, small_fixed8):
    model, rows = small
    assert_same(small_fixed8[0], model, rows, ["logits", "features"])


def test_values_beyond_the_calibration_saturate_alike(small, small_fixed8):
    model, rows = small
    rng = np.random.default_rng(7)
    hostile = rng.choice([-3e4, -50, 0, 0.5, 63.5, 127, 255, 1e9], rows["image"].shape).astype(np.float32)
    assert_same(small_fixed8[0], model, {"image": hostile}, ["logits", "features"])


@pytest.mark.parametrize("written", ["fixed8", "fixed8<per_tensor>", "fixed8<99>"])
def test_every_kind_of_layer_is_exact(zoo, written):
    model, rows = zoo
    rewritten, _, _ = rewrite(model, written, rows)
    assert_same(rewritten, model, rows, ["scores", "mean", "last", "clipped"])


def test_resnet50_is_exact(resnet50):
    model, rows = resnet50
    rewritten, cards, _ = rewrite(model, "fixed8", rows)
    assert_same(rewritten, model, {"image": rows["image"][:1]}, ["logits", "features", "stage1_block3_out"])
    assert sum(card.parameters for card in cards) == 25_581_698  # batch normalisations became biases
    assert sum(card.multiplications for card in cards if card.kind == "conv2d") == 4_087_136_256


def test_all_layers_run_as_integers(small_fixed8, tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(small_fixed8[0].SerializeToString(), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 12
    assert kinds.count("QGemm") == 2
    assert kinds.count("QLinearAdd") == 3
    assert not {"Conv", "Gemm", "FusedConv", "Add"} & set(kinds)


def test_scales_are_the_smallest_powers_of_two_that_hold_the_calibration(small, small_fixed8):
    _, rows = small
    tensors, weights = scales_of(small_fixed8[0])
    step, zero = tensors["channels_first"]
    assert (step, zero) == (2.0 ** smallest_exponents(rows["image"].max(), 255), 0)
    assert all(np.log2(steps) % 1 == 0 for steps, _ in tensors.values())
    assert all((np.log2(steps) % 1 == 0).all() for steps in weights.values())
    assert tensors["stem_pool"] == tensors["stem_relu"], "a maximum is rounded no second time"


def test_a_lower_coverage_gives_finer_steps(small):
    model, rows = small
    full, _ = scales_of(rewrite(model, "fixed8", rows)[0])
    most, _ = scales_of(rewrite(model, "fixed8<90>", rows)[0])
    assert all(most[name][0] <= full[name][0] for name in full)
    assert most["channels_first"][0] < full["channels_first"][0]


def test_the_shipped_tagger_scores_as_before():
    model = onnx.load(evtfw.data.path("toptag.onnx"))
    rng = np.random.default_rng(5)
    images = np.where(rng.random((40, 64, 64, 1)) < 0.01, rng.exponential(1, (40, 64, 64, 1)), 0)
    rows = {"image": (255 * images / images.sum((1, 2, 3), keepdims=True)).astype(np.float32)}
    rewritten, cards, notes = rewrite(model, "fixed8", rows)
    integer, unfused, before = (run(rewritten, rows), run(rewritten, rows, fused=False), run(model, rows))
    np.testing.assert_array_equal(integer["probability"], unfused["probability"])
    assert abs(integer["probability"] - before["probability"]).mean() < 0.02
    first = next(card for card in cards if card.weights)
    assert (first.kind, first.input_format.split("<")[0]) == ("conv2d", "ap_ufixed")
    assert any("Log" in note for note in notes), "what the host computes is said"


def test_sums_that_float32_rounds_are_said():
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    model = model_of(nodes, {"w": np.ones((1600, 3), np.float32)}, {"x": (4, 400)}, ["y"])
    _, _, notes = rewrite(model, "fixed8", {"x": np.ones((2, 4, 400), np.float32)})
    assert "in 1 of 1 layers (y)" in notes[0]


def test_sums_that_leave_the_accumulator_are_refused():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "wide")]
    model = model_of(nodes, {"w": np.full((140_000, 1), 1.9, np.float32)}, {"x": (140_000,)}, ["y"])
    with pytest.raises(ConfigurationError, match="'wide' sums 140000 products"):
        rewrite(model, "fixed8", {"x": np.ones((1, 140_000), np.float32)})


def test_long_sums_are_rounded_to_24_bits_first():
    rng = np.random.default_rng(3)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "long"), helper.make_node("MatMul", ["h", "v"], ["y"])]
    weight = (rng.integers(90, 128, (4000, 40)) / 128).astype(np.float32)
    model = model_of(nodes, {"w": weight, "v": np.eye(40, dtype=np.float32)}, {"x": (4000,)}, ["h", "y"])
    rows = {"x": rng.integers(100, 256, (60, 4000)).astype(np.float32)}
    rewritten, _, _ = rewrite(model, "fixed8", rows)
    found, (step, _) = run(rewritten, rows)["h"], scales_of(rewritten)[0]["h"]
    sums = rows["x"].astype(np.int64) @ (weight * 128).astype(np.int64)
    assert sums.min() > 2**24
    np.testing.assert_array_equal(found, np.rint(sums.astype(np.float32) / np.float32(128 * step)) * step)
    assert (abs(found - sums / 128) <= step / 2 * (1 + 2**-15)).all()


def test_gates_are_the_same_for_both_kernels():
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], "conv"), helper.make_node("GlobalAveragePool", ["c"], ["m"])]
    nodes += [helper.make_node("Sigmoid", ["m"], ["s"]), helper.make_node("Mul", ["c", "s"], ["g"])]
    nodes += [helper.make_node("Tanh", ["g"], ["t"]), helper.make_node("Conv", ["t", "w"], ["y"], "last")]
    weight = np.random.default_rng(4).normal(size=(6, 6, 3, 3)).astype(np.float32)
    model = model_of(nodes, {"w": weight}, {"x": (6, 9, 9)}, ["y", "g"])
    rows = {"x": np.random.default_rng(5).normal(size=(200, 6, 9, 9)).astype(np.float32)}
    rewritten, _, _ = rewrite(model, "fixed8", rows)
    integer, unfused = run(rewritten, rows), run(rewritten, rows, fused=False)
    for name in ("y", "g"):
        np.testing.assert_array_equal(integer[name], unfused[name])
