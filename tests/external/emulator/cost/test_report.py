"""What models cost, and whether they fit."""

import dataclasses

import numpy as np
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.cost.figures import SOURCES, Figure, total
from evtfw.external.emulator.cost.fpgas import find_fpga, fpgas
from evtfw.external.emulator.cost.published import PUBLISHED, designs_of, jet_trees
from evtfw.external.emulator.cost.report import as_dict, least_reuse, model_cost
from tests.external.emulator.cost.conftest import dense, make_model

WIDE = 85 / 2**7
"""A weight with four signed digits."""


def totals(model, design):
    return {name: figure.value for name, figure in model_cost(model, design).totals.items()}


def test_zeros_are_free_and_powers_of_two_need_no_multiplier(vu9p):
    nothing = totals(dense("d", np.zeros((8, 4))), vu9p)
    shifts = totals(dense("d", np.full((8, 4), 0.5)), vu9p)
    products = totals(dense("d", np.full((8, 4), WIDE)), vu9p)
    assert nothing["dsp"] == nothing["lut"] == nothing["energy_pj"] == 0
    assert shifts["dsp"] == 0 < shifts["lut"]
    assert products["dsp"] == 32
    assert shifts["energy_pj"] < products["energy_pj"]


def test_narrow_constants_are_made_of_luts(vu9p):
    weights = np.full((8, 4), WIDE)
    narrow = totals(dense("d", weights, weight_format="ap_fixed<9,1>"), vu9p)
    assert narrow["dsp"] == 0
    assert narrow["lut"] > totals(dense("d", weights), vu9p)["lut"]


def test_layer_is_counted_exactly(vu9p):
    weights = np.array([[0.0, 0.5], [3.0, WIDE]])
    layer = model_cost(dense("d", weights), vu9p).layers[0]
    assert (layer.multiplications, layer.non_zero, layer.true_multiplications) == (4, 3, 2)
    assert (layer.input_bits, layer.weight_bits) == (16, 16)


@pytest.mark.parametrize("reuse", [2, 4, 8])
def test_reuse_divides_multipliers_and_costs_cycles(vu9p, reuse):
    model = dense("d", np.full((16, 8), WIDE))
    one = totals(model, dataclasses.replace(vu9p, strategy="resource"))
    several = totals(model, dataclasses.replace(vu9p, strategy="resource", reuse_factor=reuse))
    assert several["dsp"] == one["dsp"] / reuse
    assert several["latency_cycles"] == one["latency_cycles"] + reuse - 1
    assert several["interval_cycles"] == reuse
    assert several["bram"] > 0 == one["bram"]


def test_configured_reuse_counts_unless_another_is_asked_for(vu9p):
    model = dense("d", np.full((16, 8), WIDE), reuse_factor=4, strategy="Resource")
    assert totals(model, dataclasses.replace(vu9p, follows_card=True))["interval_cycles"] == 4
    assert totals(model, vu9p)["interval_cycles"] == 1


def test_slower_clock_needs_fewer_cycles_and_more_time(vu9p):
    model = dense("d", np.full((64, 8), WIDE))
    slow, fast = (model_cost(model, dataclasses.replace(vu9p, clock_mhz=mhz)) for mhz in (100, 400))
    assert slow.totals["latency_cycles"].value < fast.totals["latency_cycles"].value
    assert slow.latency_ns > fast.latency_ns


def convolution(channels=3, outputs=8, size=32):
    weight = np.full((outputs, channels, 3, 3), WIDE)
    layer = {
        "name": "c",
        "kind": "conv2d",
        "input_shape": (channels, size, size),
        "output_shape": (outputs, size, size),
        "multiplications": weight.size * size * size,
        "parameters": weight.size,
        "weights": "c",
    }
    return make_model([layer], {"c": weight})


def test_convolutions_take_a_pixel_each_cycle(vu9p):
    """As the published ones: an interval of about the pixels, a latency little above (arXiv:2101.05108)."""
    found = totals(convolution(), vu9p)
    assert found["interval_cycles"] == 1024
    assert 1024 < found["latency_cycles"] < 1035
    assert found["dsp"] == 8 * 27
    assert found["bram"] == 1 + (2 * 32 * 3 * 16 > 36 * 1024)


def test_convolution_spends_energy_at_each_pixel(vu9p):
    cost = model_cost(convolution(), vu9p)
    assert cost.layers[0].non_zero == cost.layers[0].multiplications
    ratio = cost.totals["energy_pj"].value / model_cost(convolution(size=16), vu9p).totals["energy_pj"].value
    assert ratio == pytest.approx(4)


def test_unknown_weights_are_assumed_random(vu9p):
    known = dense("d", np.random.default_rng(1).normal(size=(32, 32)).round(4))
    unknown = make_model([layer.model_dump() | {"weights": ""} for layer in known.card.layers])
    assert totals(unknown, vu9p)["latency_cycles"] == totals(known, vu9p)["latency_cycles"]
    assert totals(unknown, vu9p)["dsp"] > 0


def test_tables_and_moving_values(vu9p):
    common = {"input_shape": (4,), "output_shape": (4,)}
    layers = [
        {"name": "r", "kind": "reshape", **common},
        {"name": "s", "kind": "sigmoid", "table_size": 1024, "table_format": "ap_fixed<18,8>", **common},
    ]
    reshape, sigmoid = model_cost(make_model(layers), vu9p).layers
    assert not any(reshape.figures[name].value for name in ("latency_cycles", "dsp", "lut", "ff", "bram"))
    assert sigmoid.figures["bram"].value == 1


def test_trees_follow_conifers_cycles(vu9p):
    found = totals(jet_trees(trees=500, depth=4, classes=5), vu9p)
    assert found["latency_cycles"] == 1 + 4 + 7
    assert found["interval_cycles"] == 1
    assert found["dsp"] == found["bram"] == 0


def test_model_that_does_not_fit_is_told_what_would(vu9p):
    model = dense("d", np.full((256, 256), WIDE))
    assert not model_cost(model, vu9p).fits
    reuse = least_reuse(model, vu9p)
    assert reuse == 16
    assert model_cost(model, dataclasses.replace(vu9p, strategy="resource", reuse_factor=reuse)).fits


def test_card_without_layers_is_refused(vu9p):
    with pytest.raises(ConfigurationError, match="names no layers"):
        model_cost(make_model([]), vu9p)


def test_bad_format_is_refused(vu9p):
    with pytest.raises(ConfigurationError, match="no number format"):
        model_cost(dense("d", np.ones((2, 2)), input_format="nonsense"), vu9p)


PARTS = [
    ("BF", {"latency_cycles": 0.25, "dsp": 0.1, "lut": 0.1, "ff": 0.1}),
    ("Q6", {"latency_cycles": 0.01, "lut": 0.1, "ff": 0.1}),
    ("QE", {"latency_cycles": 0.01, "lut": 0.75, "ff": 0.75}),
    ("reuse 1", {"latency_cycles": 0.01}),
    ("reuse 6", {"latency_cycles": 0.01}),
]


@pytest.mark.parametrize(("name", "tolerances"), PARTS)
def test_published_designs_are_met(vu9p, name, tolerances):
    """With seeded weights; see benchmarks/emulator_cost.py for what deviates and why."""
    one = next(design for design in PUBLISHED if design.name == name)
    design = dataclasses.replace(vu9p, fpga=find_fpga(one.fpga), strategy=one.strategy, reuse_factor=one.reuse_factor)
    found = totals(one.stand_in(), design)
    for quantity, tolerance in tolerances.items():
        assert abs(found[quantity] / one.figures[quantity] - 1) <= tolerance, quantity


def test_published_designs_are_shown_with_their_network_only(vu9p):
    assert designs_of(PUBLISHED[0].stand_in().card) == PUBLISHED
    assert designs_of(dense("d", np.ones((2, 2))).card) == ()


def test_every_figure_says_where_it_comes_from(vu9p):
    for design in (vu9p, dataclasses.replace(vu9p, strategy="resource", reuse_factor=4)):
        for layer in model_cost(PUBLISHED[0].stand_in(), design).layers:
            for figure in layer.figures.values():
                assert figure.origin == "counted" or figure.source in SOURCES


def test_sum_is_as_good_as_its_weakest_part():
    parts = [Figure(1.0), Figure(2.0, "estimated", "table"), Figure(0.0, "estimated", "x"), Figure(3.0, "fitted", "y")]
    assert total(parts) == Figure(6.0, "estimated", "table")
    assert total([]) == Figure(0.0)


def test_as_dict_is_plain(vu9p):
    import json

    found = json.loads(json.dumps(as_dict(model_cost(PUBLISHED[0].stand_in(), vu9p))))
    assert found["totals"]["interval_cycles"] == {"value": 1, "origin": "counted", "source": ""}
    assert found["roofline"]["link_per_s"] == pytest.approx(10e9 / 8 / 64)


def test_link_bounds_throughput(vu9p):
    model = PUBLISHED[0].stand_in()
    assert model_cost(model, vu9p, 1.0).roofline.is_link_bound
    wide = model_cost(model, vu9p, 1000.0).roofline
    assert not wide.is_link_bound
    assert wide.attainable_per_s == 200e6


def test_fpgas_are_found_by_their_own_and_their_devices_names():
    assert find_fpga("hls4ml-vu9p") == find_fpga("VU9P")
    assert find_fpga("faast-alveo-u250") == find_fpga("u250")
    assert find_fpga("faast-aws-f1").dsps == 6840
    assert all(fpga.source for fpga in fpgas().values())
    with pytest.raises(ConfigurationError, match=r"did you mean.*vu9p|vu9p"):
        find_fpga("vu9")
