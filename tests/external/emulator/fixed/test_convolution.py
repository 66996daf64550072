"""Convolutions give what hls4ml's compiled C++ gives, to the bit."""

import dataclasses

import numpy as np
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.writer import write
from evtfw.external.emulator.network import Conv, Dense, Reshape
from tests.external.emulator.fixed.golden_images import GoldenImageModel
from tests.external.emulator.fixed.images import (
    check_same,
    convolution,
    formats,
    network,
    pool,
    random_rows,
    relu,
    run,
)


def test_small_cnn_is_bit_exact_with_overflow(tmp_path):
    generator = np.random.default_rng(1)
    layers = [
        convolution("c1", "x", (4, 8, 8), (3, 3), channels=2, pads=(1, 1, 1, 1)),
        relu("r1", "c1_out", (4, 8, 8)),
        pool("p1", "r1_out", (4, 4, 4), "max", (2, 2)),
        convolution("c2", "p1_out", (3, 2, 2), (3, 2), channels=4, strides=(1, 2), pads=(0, 0, 0, 1)),
        relu("r2", "c2_out", (3, 2, 2)),
        pool("p2", "r2_out", (3, 2, 1), "average", (1, 2)),
        Reshape(name="flat", inputs=("p2_out",), output="flat_out", shape=(6,)),
        Dense(
            name="d", inputs=("flat_out",), output="y", shape=(3,),
            weight=generator.normal(size=(6, 3)), bias=generator.normal(size=3),
        ),
    ]  # fmt: skip
    weights = {"weight": "ap_fixed<16,6>", "bias": "ap_fixed<12,4>"}
    found = {layer.name: formats(result="ap_fixed<16,6>") for layer in layers} | {
        "x": formats(result="ap_fixed<16,6>"),
        "c1": formats(result="ap_fixed<16,6,RND,SAT>", accumulator="ap_fixed<38,14>", **weights),
        "r1": formats(result="ap_ufixed<14,6>"),
        "p1": formats(result="ap_ufixed<14,6>"),
        "c2": formats(result="ap_fixed<18,7>", accumulator="ap_fixed<18,7>", **weights),
        "p2": formats(result="ap_fixed<16,6>", accumulator="ap_fixed<20,8>"),
        "d": formats(result="ap_fixed<16,6>", accumulator="ap_fixed<16,6>", **weights),
    }
    check_same(network((2, 8, 8), layers), found, random_rows((2, 8, 8), 10_500, seed=3), tmp_path)


ACCUMULATORS = {
    "wide": "ap_fixed<36,16>",
    "wraps": "ap_fixed<24,4>",
    "coarse": "ap_fixed<12,5,RND_CONV>",
    "saturates": "ap_fixed<14,6,RND_ZERO,SAT>",
    "symmetric": "ap_fixed<24,5,TRN,SAT_SYM>",
}
"""By what happens in them."""


def test_accumulators_of_plain_and_depthwise_convolutions_are_bit_exact(tmp_path):
    layers = []
    for name in ACCUMULATORS:
        layers += [
            convolution(f"plain_{name}", "x", (3, 3, 4), (3, 2), channels=2, strides=(2, 1), pads=(1, 0, 1, 0)),
            convolution(f"depthwise_{name}", "x", (2, 5, 5), (2, 3), channels=2, pads=(0, 2, 1, 0), groups=2),
        ]
    found = {
        layer.name: formats(
            weight="ap_fixed<10,3>", bias="ap_fixed<9,4>", result="ap_fixed<13,5,RND_CONV,WRAP>",
            accumulator=ACCUMULATORS[layer.name.partition("_")[2]],
        )
        for layer in layers
    }  # fmt: skip
    found["x"] = formats(result="ap_fixed<12,5>")
    given = network((2, 5, 5), layers, tuple(layer.output for layer in layers))
    check_same(given, found, random_rows((2, 5, 5), 10_500, seed=4), tmp_path)


def dilated(layer):
    """The same convolution with zeros between its weights: hls4ml's windows know no dilations."""
    (step,) = layer.dilations
    weight = np.zeros((*layer.weight.shape[:2], step * (layer.weight.shape[2] - 1) + 1))
    weight[..., ::step] = layer.weight
    return Conv(**{**vars(layer), "weight": weight, "dilations": (1,)})


def test_convolutions_over_one_axis_are_bit_exact(tmp_path):
    layers = [
        convolution("c1", "x", (4, 9), (5,), channels=3, strides=(2,), pads=(2, 1)),
        relu("r1", "c1_out", (4, 9)),
        pool("p1", "r1_out", (4, 4), "max", (3,), strides=(2,)),
        convolution("dw", "r1_out", (4, 9), (3,), channels=4, pads=(1, 1), groups=4),
        convolution("point", "dw_out", (5, 9), (1,), channels=4),
        convolution("far", "point_out", (2, 5), (3,), channels=5, dilations=(2,)),
        pool("p2", "far_out", (2,), "average", (5,)),
    ]
    weights = {"weight": "ap_fixed<9,3>", "bias": "ap_fixed<9,3>"}
    found = {layer.name: formats(result="ap_fixed<12,5>", accumulator="ap_fixed<30,14>", **weights) for layer in layers}
    found |= {"x": formats(result="ap_fixed<10,4,RND,SAT>"), "r1": formats(result="ap_ufixed<9,4>")}
    outputs = ("p1_out", "point_out", "p2_out")
    rows = random_rows((3, 18), 10_500, seed=5)
    expected = GoldenImageModel(
        network((3, 18), [dilated(layer) if layer.name == "far" else layer for layer in layers], outputs),
        found,
        tmp_path,
    )(rows)
    answers = run(write(network((3, 18), layers, outputs), found).model, rows)
    assert all(np.array_equal(answers[name], expected[name]) for name in outputs)


@pytest.mark.parametrize("bits", [5, 8, 12, 16, 20, 24])
@pytest.mark.parametrize("groups", [1, 6])
def test_every_way_to_compute_a_convolution_is_exact(bits, groups):
    """Float32 in one to three parts, and float64: as many bits as the numbers need."""
    layer = convolution("c", "x", (6, 5, 4), (3, 3), channels=6, groups=groups, dilations=(2, 1), pads=(2, 0, 2, 1))
    found = {
        "x": formats(result=f"ap_fixed<{bits},4,RND,SAT>"),
        "c": formats(
            weight=f"ap_fixed<{bits},3>", bias=f"ap_fixed<{bits},3>", result=f"ap_fixed<{bits + 2},6,RND_CONV,SAT>"
        ),
    }
    found["c"] = dataclasses.replace(found["c"], has_text_weights=False)
    rows = random_rows((6, 5, 5), 200, seed=6)
    x = np.pad(found["x"].result.quantise(rows), ((0, 0), (0, 0), (2, 2), (0, 1)))
    weight, bias = found["c"].weight.quantise(layer.weight), found["c"].weight.quantise(layer.bias)
    sums = np.zeros((200, 6, 5, 4)) + bias[:, None, None]
    for (row, column), kernel in zip(np.ndindex(3, 3), weight.reshape(6, -1, 9).transpose(2, 1, 0), strict=True):
        seen = x[:, :, 2 * row : 2 * row + 5, column : column + 4]
        sums += np.einsum("ncij,co->noij", seen, kernel) if groups == 1 else seen * kernel[0][:, None, None]
    answer = run(write(network((6, 5, 5), [layer]), found).model, rows)
    np.testing.assert_array_equal(answer["c_out"], found["c"].result.quantise(sums))


def test_the_card_counts_multiplications_and_names_the_weights():
    layer = convolution("c", "x", (4, 6, 3), (3, 2), channels=2, strides=(1, 2), pads=(1, 0, 1, 0))
    number = "ap_fixed<8,3>"
    found = {"x": formats(result=number), "c": formats(result=number, weight=number, bias=number)}
    written = write(network((2, 6, 6), [layer]), found)
    (card,) = written.layers
    constants = {constant.name: tuple(constant.dims) for constant in written.model.graph.initializer}
    assert (card.kind, card.input_shape, card.output_shape) == ("conv2d", (2, 6, 6), (4, 6, 3))
    assert (card.multiplications, card.parameters) == (4 * 2 * 6 * 18, 4 * 2 * 6 + 4)
    assert (constants[card.weights], constants[card.bias]) == ((12, 4), (4,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 2, "channels": 4}, "layer 'c' has 2 groups"),
        ({"shape": (4, 4, 4), "strides": (2, 2)}, r"fit at \(2, 2\) positions"),
    ],
)
def test_what_hls4ml_has_not_is_refused(changes, message):
    given = {"shape": (4, 3, 3), "channels": 2} | changes
    layer = convolution("c", "x", given.pop("shape"), (3, 3), **given)
    number = "ap_fixed<8,3>"
    found = {"x": formats(result=number), "c": formats(result=number, weight=number)}
    with pytest.raises(ConfigurationError, match=message):
        write(network((given["channels"], 5, 5), [layer]), found)
