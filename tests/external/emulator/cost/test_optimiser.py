"""da4ml's adder graphs and yosys' count of their LUTs."""

import shutil

import numpy as np
import pytest

from evtfw.external.emulator.cost.optimiser import AdderGraph, left_out, optimise
from evtfw.external.emulator.cost.report import model_cost
from evtfw.external.emulator.cost.synthesis import synthesise
from tests.external.emulator.cost.conftest import dense

pytest.importorskip("da4ml")


@pytest.fixture(scope="module")
def small():
    weights = np.random.default_rng(1).integers(-8, 8, (4, 3)) / 8.0
    return dense("/a layer/of any name", weights, input_format="ap_fixed<6,2>", weight_format="ap_fixed<4,1>")


def test_graph_replaces_the_estimate(small, vu9p):
    import dataclasses

    graphs = optimise(small)
    (graph,) = graphs.values()
    cost = model_cost(small, dataclasses.replace(vu9p, strategy="da"), graphs=graphs).layers[0]
    assert graph.luts > 0
    assert cost.figures["lut"].value == graph.luts
    assert cost.figures["lut"].origin == "optimised"
    assert cost.figures["dsp"].value == 0


def test_without_time_nothing_is_found(small):
    assert optimise(small, time_limit_s=0.01) == {}
    assert left_out(small, {}) == ["/a layer/of any name"]


def test_only_fixed_point_layers_of_a_size_are_tried():
    large = dense("d", np.ones((200, 100)))
    other = dense("d", np.ones((2, 2)), input_format="msfp12")
    assert optimise(large) == optimise(other) == {}


@pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed")
def test_synthesis_agrees_with_the_optimiser(small):
    (layer,) = synthesise(small).values()
    assert isinstance(layer.graph, AdderGraph)
    assert layer.luts is not None
    assert abs(layer.graph.luts / layer.luts - 1) < 0.25
