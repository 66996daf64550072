"""Number formats of one layer, as hls4ml names them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed.graph import Format, Signal
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Layer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxFormats:
    """Tables and intermediate values of a softmax; see hls4ml's ``nnet_activation.h``.

    Args:
        strategy: ``implementation`` in hls4ml; ``stable`` subtracts the largest input first.
        exponential, inverse: of the entries of the tables (``exp_table_t``, ``inv_table_t``).
        exponential_size, inverse_size: entries (``exp_table_size``, ``inv_table_size``), powers of two, except for
            ``legacy``.
        accumulator: of the sum (``accum_t``).
        inverse_input: what the second table is looked up with (``inv_inp_t``).
        difference: of largest input minus input (``inp_norm_t``); ``stable`` only.
        exponential_scale: factor on the exponents (``exp_scale``).
    """

    strategy: Literal["stable", "latency", "legacy", "argmax"]
    exponential: FixedPoint
    inverse: FixedPoint
    exponential_size: int
    inverse_size: int
    accumulator: FixedPoint
    inverse_input: FixedPoint
    difference: FixedPoint | None = None
    exponential_scale: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LayerFormats:
    """How one layer, or one input of the network, is computed.

    Args:
        result: of the values it makes (``result_t``); an input of the network has this one only.
        weight, bias: of its parameters (``weight_t``, ``bias_t``; a `Scale` layer's ``scale_t`` is its weight).
        accumulator: each product is rounded to it before it is added, and so is each sum (``accum_t``); None: as wide
            as the sums need, nothing is lost.
        parameter: of the slope or bound of an activation (``param_t``); None: as ``result``.
        table: of the entries of its table (``table_t``).
        table_size: entries of the table.
        softmax: of a softmax.
        summation_stride: products are added in the order i, i + stride, i + 2 stride … for i = 0, 1 …; the reuse factor
            where hls4ml's strategy is ``resource`` (and at most the number of inputs), else 1. Only saturating
            accumulators depend on it.
        has_text_weights: hls4ml writes weights as text, with as many decimals as their format has bits behind the
            point, and rounds what it reads; False: the weights are rounded as they are.
    """

    result: Format
    weight: Format | None = None
    bias: Format | None = None
    accumulator: FixedPoint | None = None
    parameter: FixedPoint | None = None
    table: FixedPoint | None = None
    table_size: int = 1024
    softmax: SoftmaxFormats | None = None
    summation_stride: int = 1
    has_text_weights: bool = True


def layer_card(layer: Layer, formats: LayerFormats, source: Signal, **more: Any) -> LayerCard:
    """Return the card of a layer.

    Args:
        layer, formats: the layer.
        source: its first input.
        more: fields of the card that are known to the layer's writer only (multiplications, parameters, weights…).
    """
    found = {
        "input_format": source.format,
        "weight_format": formats.weight,
        "bias_format": formats.bias,
        "accumulator_format": formats.accumulator,
        "result_format": formats.result,
        "table_format": formats.table,
    }
    fields: dict[str, Any] = {name: str(given) for name, given in found.items() if given is not None}
    return LayerCard(
        name=layer.name,
        kind=layer.kind,
        input_shape=source.shape,
        output_shape=layer.shape,
        **{**fields, **more},
    )


def size(shape: tuple[int, ...]) -> int:
    """Return the number of values in a row."""
    return int(np.prod(shape, dtype=np.int64))
