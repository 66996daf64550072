"""``evtfw emulate convert``, from its words to what a user reads."""

import numpy as np
import pytest

from evtfw import ExitCode
from tests.external.emulator.reading.models import Graph


@pytest.fixture
def source(tmp_path):
    import onnx

    g = Graph()
    x = g.node("Gemm", g.input("x", 6), g.weights(6, 5), g.weights(5), name="fc1")
    x = g.node("Gemm", g.node("Relu", x, name="act"), g.weights(5, 3), g.weights(3), name="fc2", output="y")
    path = tmp_path / "source.onnx"
    onnx.save(g.model(x), path)
    return path


def test_help_suffices(execute):
    code, out, _ = execute("emulate", "convert", "--help")
    assert code == 0
    for word in ("Examples:", "Formats:", "Sources:", "--config", "--check", "QONNX", "Exit codes:", "card"):
        assert word in out


def test_what_was_made_is_shown(execute, source, tmp_path):
    out_file = tmp_path / "m.onnx"
    code, out, _ = execute(
        "emulate", "convert", source, "--format", "ap_fixed<16,6>", "--out", out_file, "--check", "50"
    )
    assert code == 0
    assert out_file.is_file()
    assert out_file.with_suffix(".json").is_file()
    for word in ("fc1", "dense", "fixed<16,6>", "total", "53", "m.onnx", "largest error", "50", "normally distributed"):
        assert word in out


def test_a_configuration_and_a_calibration(execute, source, tmp_path):
    config = tmp_path / "c.yml"
    config.write_text(
        "Model:\n  Precision: fixed<18,8>\n  ReuseFactor: 2\nLayerName:\n  act:\n    Precision: fixed<9,4>\n"
    )
    rows = tmp_path / "rows.npz"
    np.savez(rows, x=np.random.default_rng(0).normal(size=(40, 6)))
    out_file = tmp_path / "m.onnx"
    command = ["emulate", "convert", source, "--out", out_file, "--calibration", rows, "--check", "30"]
    code, out, _ = execute(*command, "--format", "hls4ml", "--config", config)
    assert code == 0
    assert "fixed<9,4>" in out
    assert "calibration" in out
    code, out, _ = execute(*command, "--format", "fixed8", "--overwrite")
    assert code == 0
    np.save(tmp_path / "rows.npy", np.zeros((4, 6), np.float32))
    command[command.index(rows)] = tmp_path / "rows.npy"
    assert execute(*command, "--format", "msfp12", "--overwrite")[0] == 0


def test_mistakes_are_told(execute, source, tmp_path):
    out = tmp_path / "m.onnx"
    code, _, text = execute("emulate", "convert", source, "--format", "fixd8", "--out", out)
    assert code == ExitCode.CONFIGURATION
    assert "did you mean 'fixed8'" in text
    (tmp_path / "rows.npz").write_text("no arrays")
    command = ["emulate", "convert", source, "--format", "fixed8", "--out", out]
    code, _, text = execute(*command, "--calibration", tmp_path / "rows.npz")
    assert code == ExitCode.CONFIGURATION
    assert "numpy.savez" in text
    assert not out.exists()


def test_trees_are_shown_as_such(execute, tmp_path):
    import xgboost

    random = np.random.default_rng(3)
    features = random.normal(size=(100, 3))
    data = xgboost.DMatrix(features, (features[:, 0] > 0).astype(int))
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 2}, data, num_boost_round=4)
    booster.save_model(tmp_path / "trees.json")
    out_file = tmp_path / "t.onnx"
    code, out, _ = execute(
        "emulate", "convert", tmp_path / "trees.json", "--format", "ap_fixed<18,8>", "--out", out_file
    )
    assert code == 0
    assert "splits" in out
