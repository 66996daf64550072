"""Networks whose cost was measured and published, and stand-ins of the same architecture to hold the models against.

The original weights are not available. The stand-ins have normal weights with a variance of two over the number of
inputs (K. He et al., arXiv:1502.01852), rounded to the published number of bits. DSPs and LUTs depend on that choice;
benchmarks/emulator_cost.py shows half and twice of it too. The constants of the models are fitted with it, to the same
designs that they are compared with, so their agreement is no independent test.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evtfw.external.emulator.card import LayerCard, ModelCard, SourceCard, TreesCard
from evtfw.external.emulator.cost.design import Strategy
from evtfw.external.emulator.cost.model_file import EmulatedModel

JET_NETWORK = (16, 64, 32, 32, 5)
"""Values per layer of hls4ml's jet tagger; ReLU between, softmax at the end."""
VARIANCE = 2.0
"""Of the stand-ins' weights, times the inputs of the layer."""
_SEED = 1
_COELHO = "C. Coelho et al., arXiv:2006.10159 (Nature Machine Intelligence 3, 2021)"
_DUARTE = "J. Duarte et al., arXiv:1804.06913 (JINST 13, P07027, 2018)"
_ALL16 = (16, 16, 16, 16)


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """A design and what was measured of it.

    Args:
        name: by which its paper calls it.
        fpga: on which.
        figures: by name of the quantity.
        weight_bits, value_bits: of each layer; ``value_bits`` are those of the layer's input.
        strategy, reuse_factor: of the design.
        source: where it was published.
        remark: what else to know.
    """

    name: str
    fpga: str
    figures: Mapping[str, float]
    weight_bits: tuple[int, ...] = _ALL16
    value_bits: tuple[int, ...] = _ALL16
    strategy: Strategy = "latency"
    reuse_factor: int = 1
    source: str = _COELHO
    remark: str = ""

    def stand_in(self, variance: float = VARIANCE) -> EmulatedModel:
        """Return a network of the same architecture with seeded weights, see `jet_network`."""
        return jet_network(self.weight_bits, self.value_bits, variance)


PUBLISHED = (
    Published("BF", "vu9p", {"latency_cycles": 9, "dsp": 1826, "lut": 48321, "ff": 20132}),
    Published(
        "Q6",
        "vu9p",
        {"latency_cycles": 11, "dsp": 124, "lut": 39782, "ff": 8128},
        (6, 6, 6, 6),
        (16, 6, 6, 6),
        remark="its 124 DSPs are not those of 6-bit constants; the softmax explains 5",
    ),
    Published(
        "QE",
        "vu9p",
        {"latency_cycles": 11, "dsp": 66, "lut": 9149, "ff": 1781},
        (4, 2, 2, 1),
        (16, 4, 3, 4),
        remark="bits differ by layer; taken as 4, ternary, 2 and binary, not checked against the paper",
    ),
    Published("reuse 1", "ku115", {"latency_cycles": 15}, source=_DUARTE),
    Published("reuse 6", "ku115", {"latency_cycles": 35}, reuse_factor=6, strategy="resource", source=_DUARTE),
)


def designs_of(card: ModelCard) -> tuple[Published, ...]:
    """Return the published designs of a network with the same dense layers."""
    dense = [layer for layer in card.layers if layer.multiplications]
    has_same = [layer.kind for layer in dense] == ["dense"] * (len(JET_NETWORK) - 1) and [
        dense[0].input_shape[-1],
        *(layer.output_shape[-1] for layer in dense),
    ] == list(JET_NETWORK)
    return PUBLISHED if has_same else ()


def jet_network(
    weight_bits: tuple[int, ...] = _ALL16, value_bits: tuple[int, ...] = _ALL16, variance: float = VARIANCE
) -> EmulatedModel:
    """Return hls4ml's jet tagger with seeded weights.

    Args:
        weight_bits, value_bits: of each dense layer's weights and input; 16 stands for ap_fixed<16,6>.
        variance: of the weights before they are rounded, times the inputs of the layer.
    """
    rng = np.random.default_rng(_SEED)
    cards: list[LayerCard] = []
    weights: dict[str, NDArray[np.float64]] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(JET_NETWORK)):
        name, bits = f"dense{number + 1}", weight_bits[number]
        weights[name] = rounded(rng.normal(0, np.sqrt(variance / inputs), (inputs, outputs)), bits)
        cards.append(
            LayerCard.model_validate(
                {
                    "name": name,
                    "kind": "dense",
                    "input_shape": (inputs,),
                    "output_shape": (outputs,),
                    "multiplications": inputs * outputs,
                    "parameters": (inputs + 1) * outputs,
                    "weights": name,
                    "input_format": _format(value_bits[number]),
                    "weight_format": _format(bits),
                    "accumulator_format": _format(16),
                    "result_format": _format(16),
                }
            )
        )
        cards.append(_activation(number, outputs, value_bits))
    card = ModelCard.model_validate(
        {
            "name": "jets",
            "sha256": "",
            "arithmetic": "ap_fixed",
            "format": _format(max(weight_bits)),
            "source": SourceCard(file="", kind="seeded", sha256=""),
            "layers": tuple(cards),
        }
    )
    return EmulatedModel(card, weights, 4 * JET_NETWORK[0], 4 * JET_NETWORK[-1])


def _activation(number: int, values: int, value_bits: tuple[int, ...]) -> LayerCard:
    is_last = number == len(JET_NETWORK) - 2
    return LayerCard.model_validate(
        {
            "name": "softmax" if is_last else f"relu{number + 1}",
            "kind": "softmax" if is_last else "relu",
            "input_shape": (values,),
            "output_shape": (values,),
            "input_format": _format(16),
            "result_format": _format(16 if is_last else value_bits[number + 1]),
            "table_format": "ap_fixed<18,8>" if is_last else "",
            "table_size": 1024 if is_last else 0,
        }
    )


def rounded(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Return values as such weights are stored: 16 bits have 10 behind the point, fewer all but the sign's.

    One bit is the sign alone, two are -1, 0 and 1 in units of the standard deviation.
    """
    if bits == 1:
        return np.where(values < 0, -1.0, 1.0)
    if bits == 2:
        return np.asarray(np.clip(np.round(values / values.std()), -1.0, 1.0), np.float64)
    step = 2.0**-10 if bits == 16 else 2.0 ** (1 - bits)
    integers = np.clip(np.round(values / step), -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
    return np.asarray(integers * step, np.float64)


def _format(bits: int) -> str:
    return "ap_fixed<16,6>" if bits == 16 else f"ap_fixed<{bits},1>"


def jet_trees(trees: int = 100, depth: int = 4, classes: int = 5, bits: int = 18) -> EmulatedModel:
    """Return an ensemble of complete trees."""
    card = ModelCard.model_validate(
        {
            "name": "jet_trees",
            "sha256": "",
            "arithmetic": "trees",
            "format": f"ap_fixed<{bits},8>",
            "source": SourceCard(file="", kind="seeded", sha256=""),
            "trees": TreesCard(
                classes=classes,
                trees=trees,
                depth=depth,
                leaves=trees * 2**depth,
                splits=trees * (2**depth - 1),
                threshold_format=f"ap_fixed<{bits},8>",
                score_format=f"ap_fixed<{bits},8>",
            ),
        }
    )
    return EmulatedModel(card, {}, 4 * JET_NETWORK[0], 4 * classes)
