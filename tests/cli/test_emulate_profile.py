"""``evtfw emulate profile``: from a network and events to ranges and advice."""

import json

import numpy as np
import pytest

from tests.external.emulator.cost.conftest import write_network


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "network.onnx")


def test_profile_shows_each_layer_and_its_weights(execute, network):
    code, out, _ = execute("emulate", "profile", network, "--rows", 50)
    assert code == 0
    assert "normal random numbers" in out
    for name in ("x", "dense0", "weights", "relu0", "softmax1"):
        assert f"{name} " in out
    assert "ufixed<" in out
    assert max(map(len, out.splitlines())) <= 120


def test_profile_of_events_as_plot_page_and_json(execute, network, tmp_path):
    data = tmp_path / "events.npz"
    np.savez(data, x=np.random.default_rng(1).normal(size=(40, 4)))
    plot, page, figures = (tmp_path / f"ranges.{ending}" for ending in ("png", "html", "json"))
    options = ("--data", data, "--plot", plot, "--html", page, "--json", figures)
    code, out, _ = execute("emulate", "profile", network, "--format", "ap_fixed<10,4>", *options)
    assert code == 0
    assert "40 events" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in page.read_text()
    found = json.loads(figures.read_text())
    assert [layer["name"] for layer in found] == ["x", "dense0", "relu0", "dense1", "softmax1"]


def test_format_that_is_none_is_refused(execute, network):
    code, _, err = execute("emulate", "profile", network, "--format", "ap_fixed<16>")
    assert code != 0
    assert "no fixed-point format" in err


def test_plot_of_unknown_kind_is_refused(execute, network, tmp_path):
    code, _, err = execute("emulate", "profile", network, "--rows", 5, "--plot", tmp_path / "plot.nothing")
    assert code != 0
    assert "cannot write" in err
