"""Networks of vectors against hls4ml's compiled C++ emulation: not one output may differ."""

from __future__ import annotations

import numpy as np
import pytest

from evtfw.external.emulator.formats.fixed_point import FixedPoint
from tests.external.emulator.fixed.vectors import VectorNetwork, adversarial_rows, emulator, mlp
from tests.external.emulator.golden_hls4ml import GoldenModel

ROWS = 12_000
F16 = "fixed<16,6>"
ALL_16 = {"result": F16, "weight": F16, "bias": F16}
WIDE = "fixed<40,20>"


def compare(made, outputs, folder, **options):
    """Both answers by output, after one look that they are not trivially the same."""
    network = made.network(*outputs)
    rows = adversarial_rows(ROWS, network.inputs[0].shape[0], made.formats["x"].result)
    golden = GoldenModel(network, made.formats, folder, **options)(rows)
    return {name: (found, golden[name]) for name, found in emulator(network, made.formats)(rows).items()}


@pytest.fixture(scope="module")
def jets(tmp_path_factory):
    """Everything that reads 16 features, in one project: compiling is what takes long."""
    made = VectorNetwork(16, F16)
    scores = mlp(made, "wide", (64, 32, 32, 5), **ALL_16, accumulator=WIDE)
    six = {"result": F16, "weight": "fixed<6,1,RND_CONV,SAT>", "bias": "fixed<6,1,RND_CONV,SAT>", "accumulator": WIDE}
    outputs = [scores, mlp(made, "six", (16, 12, 5), relu="ufixed<6,2,RND_CONV,SAT>", **six)]
    outputs += softmaxes(made, scores)
    outputs += accumulators(made)
    outputs += activations(made, made.dense("small", "x", 8, **ALL_16, accumulator=F16))
    strategies = {"strided": "Resource"}
    return compare(made, outputs, tmp_path_factory.mktemp("jets"), strategies=strategies)


def softmaxes(made, scores):
    narrow = {"inverse_input": "fixed<14,4>", "inverse": "fixed<16,4>"}
    return [
        made.softmax("stable", scores, "stable", F16, difference="ufixed<15,5>"),
        made.softmax("latency", scores, "latency", F16),
        made.softmax("legacy", scores, "legacy", F16, table="fixed<18,8>"),
        made.softmax("argmax", scores, "argmax", "ufixed<1,1>"),
        made.softmax(
            "stable_wraps",
            "x",
            "stable",
            F16,
            difference="ufixed<15,5>",
            exponential="fixed<14,2>",
            accumulator="fixed<12,3>",
            **narrow,
        ),
        made.softmax("tree_saturates", "x", "latency", F16, accumulator="fixed<12,3,RND,SAT>", **narrow),
    ]


def accumulators(made):
    return [
        mlp(made, "coarse", (12, 6), **ALL_16, accumulator=F16),
        made.dense("rounds", "x", 6, **ALL_16, accumulator="fixed<14,6,RND,WRAP>"),
        made.dense("convergent", "x", 6, **ALL_16, accumulator="fixed<14,6,RND_CONV,WRAP>"),
        made.dense("coarsest", "x", 6, **ALL_16, accumulator="fixed<8,6>"),
        made.dense("saturates", "x", 6, **ALL_16, accumulator="fixed<14,5,RND,SAT>"),
        made.dense("strided", "x", 6, **ALL_16, accumulator="fixed<12,4,TRN,SAT>", summation_stride=4),
    ]


def activations(made, tensor):
    table, slope = {"table": "fixed<18,8>"}, {"parameter": F16}
    return [
        made.activation("sigmoid", tensor, "sigmoid", result=F16, **table),
        made.activation("tanh", tensor, "tanh", result="fixed<10,2>", **table, table_size=512),
        made.activation("leaky", tensor, "leaky_relu", alpha=0.3, result="fixed<12,4,RND,SAT>", **slope),
        made.activation("steep", tensor, "leaky_relu", alpha=-1.7, result="fixed<12,4,RND_INF>", **slope),
        made.activation("elu", tensor, "elu", alpha=1.0, result=F16, **table, **slope),
        made.activation("relu6", tensor, "clipped_relu", alpha=6, result="fixed<12,5>"),
        made.activation("linear", tensor, "linear", result="fixed<9,4,TRN_ZERO,SAT_SYM>"),
    ]


JETS_OUTPUTS = [
    "wide3", "six2", "stable", "latency", "legacy", "argmax", "stable_wraps", "tree_saturates", "coarse1", "rounds",
    "convergent", "coarsest", "saturates", "strided", "sigmoid", "tanh", "leaky", "steep", "elu", "relu6", "linear",
]  # fmt: skip


@pytest.mark.parametrize("output", JETS_OUTPUTS)
def test_jets_equal_hls4ml(jets, output):
    found, golden = jets[f"{output}_out"]
    assert len(np.unique(golden)) > 1
    np.testing.assert_array_equal(found, golden)


def test_facile_equals_hls4ml(tmp_path):
    """The FPGA version of FACILE, 18 inputs, 31-11-3-1, and an end as its other versions have it."""
    made = VectorNetwork(18, F16, seed=5)
    energy = mlp(made, "facile", (31, 11, 3, 1), **ALL_16, accumulator=WIDE)
    made_outputs = [energy, made.activation("end", energy, "sigmoid", result=F16, table="fixed<18,8>")]
    for found, golden in compare(made, made_outputs, tmp_path).values():
        assert len(np.unique(golden)) > 100
        np.testing.assert_array_equal(found, golden)


def test_inputs_of_float32_give_the_same():
    made = VectorNetwork(16, F16)
    output = mlp(made, "mlp", (16, 5), **ALL_16, accumulator=WIDE)
    rows = adversarial_rows(3000, 16, FixedPoint.parse(F16)).astype(np.float32)
    narrow = emulator(made.network(output, dtype="float32"), made.formats)(rows)[output]
    wide = emulator(made.network(output), made.formats)(rows)[output]
    assert narrow.dtype == np.float32
    np.testing.assert_array_equal(narrow, wide)
