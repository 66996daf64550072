"""A layer in numbers, for the models of cost."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.cost.constants import Constants, as_kernel
from evtfw.external.emulator.cost.formats import bits_of


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What a layer is, in numbers.

    Args:
        card: of the layer.
        input_bits, weight_bits, sum_bits, result_bits: of its values; ``sum_bits`` are those of the accumulator.
        constants: its weights; None if it has none.
        positions: how often its weights are applied to a row: pixels of a convolution.
        is_streamed: whether the network takes its pixels one after another.
    """

    card: LayerCard
    input_bits: int
    weight_bits: int
    sum_bits: int
    result_bits: int
    constants: Constants | None
    positions: int
    is_streamed: bool

    @property
    def values(self) -> int:
        """Values that the hardware makes at a time: channels if it is streamed."""
        return self.card.output_shape[0] if self.is_streamed else math.prod(self.card.output_shape)

    @property
    def pixels(self) -> int:
        """Words in which the input comes if it is streamed."""
        return math.prod(self.card.input_shape[1:]) if self.is_streamed else 1


def shape_of(card: LayerCard, default_format: str, weights: NDArray[np.float64] | None, *, is_streamed: bool) -> Shape:
    """Return the numbers of a layer.

    Args:
        card: of the layer.
        default_format: for what the card says nothing of.
        weights: of the layer, if it has any and they are known.
        is_streamed: whether the network takes its pixels one after another.
    """
    input_bits = bits_of(card.input_format or default_format)
    weight_bits = bits_of(card.weight_format or default_format) if card.multiplications else 0
    constants = _constants(card, weights, weight_bits)
    inputs = constants.inputs if constants else 1
    sum_bits = input_bits + weight_bits + math.ceil(math.log2(max(1, inputs)))
    if card.accumulator_format:
        sum_bits = min(sum_bits, bits_of(card.accumulator_format))
    positions = card.multiplications // constants.size if constants and constants.size else 1
    result_bits = bits_of(card.result_format or default_format)
    has_pixels = is_streamed and len(card.input_shape) > 1
    return Shape(card, input_bits, weight_bits, sum_bits, result_bits, constants, max(1, positions), has_pixels)


def _constants(card: LayerCard, weights: NDArray[np.float64] | None, bits: int) -> Constants | None:
    if not card.multiplications:
        return None
    if weights is not None and weights.size:
        return Constants.of(weights.reshape(1, -1) if card.kind == "scale" else as_kernel(weights))
    size = max(1, min(card.parameters, card.multiplications) or card.multiplications)
    return Constants.unknown(size, card.output_shape[-1 if card.kind == "dense" else 0], bits)
