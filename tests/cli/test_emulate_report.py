"""``evtfw emulate report``: from a converted model to what a user reads."""

import json

import numpy as np
import pytest

from evtfw.external.emulator.cost.published import jet_trees
from tests.external.emulator.cost.conftest import dense, write_converted


@pytest.fixture
def model(tmp_path):
    weights = np.random.default_rng(1).integers(-8, 8, (4, 1)) / 8.0
    fields = {"input_format": "ap_fixed<8,3>", "weight_format": "ap_fixed<4,1>"}
    return write_converted(dense("first", weights, **fields), tmp_path / "model.onnx")


def test_report_shows_layers_totals_and_whether_it_fits(execute, model):
    code, out, _ = execute("emulate", "report", model, "--da4ml-limit", 0)
    assert code == 0
    assert "first" in out
    assert "total" in out
    assert "✓ fits the AMD Virtex UltraScale+ VU9P" in out
    assert "ᶠ fitted" in out
    assert "10 GbE" in out
    assert max(map(len, out.splitlines())) <= 120


def test_report_as_page_and_json(execute, model, tmp_path):
    page, figures = tmp_path / "cost.html", tmp_path / "cost.json"
    options = ("--device", "ku115", "--reuse-factor", 2, "--strategy", "resource", "--html", page, "--json", figures)
    code, out, _ = execute("emulate", "report", model, "--da4ml-limit", 0, *options)
    assert code == 0
    assert "KU115: strategy resource, reuse factor 2, 200 MHz" in out
    found = json.loads(figures.read_text())
    assert found["totals"]["interval_cycles"]["value"] == 2
    assert found["fits"] is True
    text = page.read_text()
    assert "<svg" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "var(--accent)" in text


def test_graphs_of_adders(execute, model):
    pytest.importorskip("da4ml")
    code, out, _ = execute("emulate", "report", model, "--strategy", "da")
    assert code == 0
    assert "LUT da4ml" in out
    assert "ᵒ optimised" in out


def test_trees(execute, tmp_path):
    model = write_converted(jet_trees(trees=10, depth=3), tmp_path / "trees.onnx")
    code, out, _ = execute("emulate", "report", model, "--html", tmp_path / "trees.html")
    assert code == 0
    assert "trees" in out


def test_model_that_does_not_fit_is_told_how_it_would(execute, tmp_path):
    model = write_converted(dense("wide", np.full((256, 256), 85 / 128)), tmp_path / "wide.onnx")
    code, out, _ = execute("emulate", "report", model, "--da4ml-limit", 0)
    assert code == 0
    assert "✗ does not fit" in out
    assert "a reuse factor of 16 makes it fit" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--device", "vu99p"), "there is no FPGA 'vu99p'"),
        (("--strategy", "da", "--reuse-factor", "2"), "no reuse"),
        (("--strategy", "fast"), "latency"),
    ],
)
def test_mistakes_are_explained(execute, model, words, message):
    code, _, err = execute("emulate", "report", model, *words)
    assert code != 0
    assert message in err


def test_file_without_card_is_no_converted_model(execute, model):
    model.with_suffix(".json").unlink()
    code, _, err = execute("emulate", "report", model)
    assert code != 0
    assert "evtfw emulate convert" in err


def test_card_of_other_weights_is_refused(execute, model):
    card = model.with_suffix(".json")
    card.write_text(card.read_text().replace('"weights": "first"', '"weights": "second"'))
    code, _, err = execute("emulate", "report", model)
    assert code != 0
    assert "no initialiser second" in err


def test_file_that_is_no_onnx_is_refused(execute, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_text("nothing")
    code, _, err = execute("emulate", "report", file)
    assert code != 0
    assert "is no ONNX model" in err
