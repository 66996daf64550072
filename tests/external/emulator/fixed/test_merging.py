"""Layers of several inputs, moving layers and scales give what hls4ml's compiled C++ gives, to the bit."""

import numpy as np
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.writer import write
from evtfw.external.emulator.formats.fixed_point import FixedPointGrid
from evtfw.external.emulator.network import Merge, Quantise, Reshape, Scale, Transpose, UpSample
from tests.external.emulator.fixed.images import check_same, convolution, formats, network, pool, random_rows, run


def merge(name, sources, shape, operation, axis=0):
    return Merge(name=name, inputs=sources, output=f"{name}_out", shape=shape, operation=operation, axis=axis)


def scale(name, source, shape, values, shifts):
    given = {"scale": np.array(values), "shift": np.array(shifts)}
    return Scale(name=name, inputs=(source,), output=f"{name}_out", shape=shape, **given)


def test_a_branching_network_is_bit_exact_with_overflow(tmp_path):
    layers = [
        convolution("c", "x", (3, 4, 6), (3, 3), channels=2, pads=(1, 1, 1, 1)),
        scale("s", "x", (2, 4, 6), [0.7, -1.9], [3.3, -0.26]),
        pool("down", "c_out", (3, 2, 3), "max", (2, 2)),
        UpSample(name="up", inputs=("down_out",), output="up_out", shape=(3, 4, 6), factors=(2, 2)),
        merge("sum", ("c_out", "up_out"), (3, 4, 6), "add"),
        merge("difference", ("sum_out", "c_out"), (3, 4, 6), "subtract"),
        merge("product", ("sum_out", "difference_out"), (3, 4, 6), "multiply"),
        merge("channels", ("product_out", "s_out"), (5, 4, 6), "concatenate"),
        merge("rows", ("c_out", "sum_out"), (3, 8, 6), "concatenate", 1),
        merge("columns", ("rows_out", "rows_out"), (3, 8, 12), "concatenate", -1),
        Transpose(name="t", inputs=("channels_out",), output="t_out", shape=(6, 5, 4), order=(2, 0, 1)),
        Reshape(name="flat", inputs=("t_out",), output="flat_out", shape=(120,)),
        pool("gate", "sum_out", (3,), "average", (4, 6)),
        Reshape(name="gates", inputs=("gate_out",), output="gates_out", shape=(3, 1, 1)),
        merge("gated", ("sum_out", "gates_out"), (3, 4, 6), "multiply"),
    ]
    found = {layer.name: formats(result="ap_fixed<16,6>") for layer in layers}
    weights = {"weight": "ap_fixed<10,3>", "bias": "ap_fixed<9,4,RND,SAT>"}
    found |= {
        "x": formats(result="ap_fixed<14,5,RND>"),
        "c": formats(result="ap_fixed<12,5,RND_CONV>", accumulator="ap_fixed<30,14>", **weights),
        "s": formats(result="ap_fixed<13,4,RND_INF,SAT>", **weights),
        "down": formats(result="ap_fixed<11,5>", accumulator="ap_fixed<12,5>"),
        "sum": formats(result="ap_fixed<12,5,RND_ZERO,SAT_SYM>"),
        "difference": formats(result="ap_ufixed<9,3>"),
        "rows": formats(result="ap_ufixed<12,4,RND_MIN_INF,SAT>"),
        "gate": formats(result="ap_fixed<12,2>", accumulator="ap_fixed<20,9>"),
    }
    outputs = ("columns_out", "flat_out", "gated_out")
    check_same(network((2, 4, 6), layers, outputs), found, random_rows((2, 4, 6), 10_500, seed=8), tmp_path)


def test_moved_values_keep_their_formats():
    generator = np.random.default_rng(2)
    grid = FixedPointGrid(
        np.array(True), generator.integers(0, 4, (2, 3)), generator.integers(1, 6, (2, 3)), "RND", "SAT"
    )
    layers = [
        Quantise(name="q", inputs=("x",), output="q_out", shape=(2, 3), format=grid),
        Transpose(name="t", inputs=("q_out",), output="t_out", shape=(3, 2), order=(1, 0)),
        UpSample(name="u", inputs=("t_out",), output="u_out", shape=(3, 4), factors=(2,)),
        Reshape(name="r", inputs=("u_out",), output="r_out", shape=(12,)),
        merge("m", ("r_out", "r_out"), (12,), "add"),
    ]
    found = {name: formats(result="ap_fixed<24,8>") for name in "xqturm"}
    rows = random_rows((2, 3), 500, seed=9)
    answer = run(write(network((2, 3), layers), found).model, rows)["m_out"]
    kept = grid.quantise(found["x"].result.quantise(rows))
    np.testing.assert_array_equal(answer, 2 * kept.transpose(0, 2, 1).repeat(2, axis=2).reshape(-1, 12))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (merge("m", ("x", "x", "x"), (2, 3), "add"), "merges 3 tensors; hls4ml merges two"),
        (merge("m", ("x", "y_out"), (2, 3), "add"), r"rows of shapes \(2, 3\) and \(3, 2\)"),
        (merge("m", ("x", "y_out"), (2, 3), "concatenate"), r"concatenates rows of shapes \(2, 3\) and \(3, 2\)"),
        (Reshape(name="m", inputs=("x",), output="m_out", shape=(5,)), r"gives 6 values the shape \(5,\)"),
        (Transpose(name="m", inputs=("x",), output="m_out", shape=(2,), order=(0,)), "orders axes"),
        (UpSample(name="m", inputs=("x",), output="m_out", shape=(2, 0), factors=(0,)), "a whole number for each axis"),
    ],
)
def test_what_cannot_be_merged_or_moved_is_named(layer, message):
    turned = Transpose(name="y", inputs=("x",), output="y_out", shape=(3, 2), order=(1, 0))
    found = {name: formats(result="ap_fixed<16,6>") for name in "xym"}
    with pytest.raises(ConfigurationError, match=f"layer 'm'.*{message}"):
        write(network((2, 3), [turned, layer]), found)
