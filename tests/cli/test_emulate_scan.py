"""``evtfw emulate scan``: from a network and events to accuracy against bits."""

import json

import numpy as np
import pytest

from tests.external.emulator.cost.conftest import write_network


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "network.onnx")


def test_scan_of_widths_and_formats(execute, network, tmp_path):
    data = tmp_path / "events.npz"
    rng = np.random.default_rng(1)
    np.savez(data, x=rng.normal(size=(60, 4)), truth=rng.integers(0, 3, 60))
    plot, page, figures = (tmp_path / f"bits.{ending}" for ending in ("png", "html", "json"))
    options = ("--data", data, "--labels", "truth", "--plot", plot, "--html", page, "--json", figures)
    code, out, _ = execute("emulate", "scan", network, "--widths", "8-12:4", "--format", "fixed8", *options)
    assert code == 0
    found = json.loads(figures.read_text())
    assert [one["format"] for one in found] == ["", "fixed8", "ap_fixed<8,6,TRN,WRAP>", "ap_fixed<12,6,TRN,WRAP>"]
    assert all(0 <= one["accuracy"] <= 1 and 0 <= one["auc"] <= 1 for one in found)
    assert "accuracy" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in page.read_text()


def test_scan_without_labels_compares_with_floating_point(execute, network):
    code, out, _ = execute("emulate", "scan", network, "--format", "ap_fixed<16,6>", "--rows", 20)
    assert code == 0
    assert "ap_fixed<16,6>" in out


@pytest.mark.parametrize("widths", ["16-4", "0-3", "many"])
def test_widths_that_are_none_are_refused(execute, network, widths):
    code, _, err = execute("emulate", "scan", network, "--widths", widths)
    assert code != 0
    assert "are no widths" in err


def test_labels_need_events(execute, network):
    code, _, err = execute("emulate", "scan", network, "--widths", "8", "--labels", "truth")
    assert code != 0
    assert "--data" in err
