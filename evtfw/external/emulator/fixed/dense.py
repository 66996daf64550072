"""Matrix products, as hls4ml's ``nnet_dense_latency.h`` and ``nnet_dense_resource.h`` compute them.

Weights and biases are rounded offline. A product is exact, then cast to the accumulator's format; sums are cast to it
again after each addition; the last sum is cast to the result's format. Mostly the bounds show that these casts change
nothing, or (as wrapping is modular) nothing that is left in the result: then it is one matrix product.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.fixed import accumulators, rounding
from evtfw.external.emulator.fixed.graph import FLOAT64, SIGNIFICAND_BITS, Format, GraphBuilder, Signal, exact_bits
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, layer_card, size
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.formats.fixed_point import FixedPoint, Floats
from evtfw.external.emulator.network import Dense, Layer, Shape

_SIGNLESS: Final = ("TRN", "RND", "RND_MIN_INF", "RND_CONV")
"""Rounding that commutes with adding even multiples of the coarser step."""


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """A matrix product with rounded parameters.

    Args:
        layer: its name.
        source: [..., inputs].
        weight: [inputs, outputs], rounded.
        bias: [outputs], rounded, also to the accumulator's format.
        formats: of the layer.
    """

    layer: str
    source: Signal
    weight: Floats
    bias: Floats
    formats: LayerFormats

    @property
    def fraction(self) -> int:
        """Bits behind the point of the exact sums."""
        return max(self.product_fraction, finest_fraction(self.bias))

    @property
    def product_fraction(self) -> int:
        """Bits behind the point of the exact products."""
        return (self.source.fraction or 0) + self.weight_fraction

    @property
    def weight_fraction(self) -> int:
        """Bits behind the point of the weights."""
        return finest_fraction(self.weight)

    @property
    def shape(self) -> Shape:
        """Of a row of the sums."""
        return (*self.source.shape[:-1], self.weight.shape[1])

    def constants(self, graph: GraphBuilder, dtype: np.dtype[Any]) -> tuple[str, str]:
        """Add weights and biases to the graph and return their names; "" if all biases are 0."""
        weights = graph.constant(self.weight, dtype, name=f"{self.layer}_weight")
        if not np.any(self.bias):
            return weights, ""
        return weights, graph.constant(self.bias, dtype, name=f"{self.layer}_bias")

    def bounds(self) -> tuple[Floats, Floats]:
        """Return bounds of every partial sum, in any order, for each output."""
        ends = self.weight * self.source.lowest, self.weight * self.source.highest
        low = np.minimum(np.minimum(*ends), 0).sum(axis=0) + np.minimum(self.bias, 0)
        high = np.maximum(np.maximum(*ends), 0).sum(axis=0) + np.maximum(self.bias, 0)
        return low, high

    def range(self) -> tuple[float, float]:
        """Return bounds of every partial sum of all outputs."""
        low, high = self.bounds()
        return float(low.min()), float(high.max())

    def is_coarse(self, accumulator: FixedPoint) -> bool:
        """Whether the accumulator cuts bits off the products."""
        return self.product_fraction > accumulator.fraction

    def is_inside(self, accumulator: FixedPoint, *, is_rounded: bool = False) -> bool:
        """Whether the accumulator changes nothing; ``is_rounded``: nothing but the rounding of each product."""
        if self.is_coarse(accumulator) and not is_rounded:
            return False
        low, high = self.range()
        slack = accumulator.step * self.weight.shape[0] if is_rounded else 0.0
        return bool(low - slack >= accumulator.lowest and high + slack <= accumulator.highest)


def write_dense(layer: Dense, formats: LayerFormats, graph: GraphBuilder) -> LayerCard:
    """Write a dense layer."""
    source = graph.signals[layer.inputs[0]]
    weight, bias = rounded_parameters(layer.name, layer.weight, layer.bias, formats, graph)
    product = Product(layer.name, source, weight, bias, formats)
    done = _wrapped_at_once(graph, product)
    if done is None:
        total, names = write_product(graph, product)
        done = quantise(graph, total, formats.result, layer=layer.name), names
    graph.signals[layer.output], names = done
    return layer_card(
        layer,
        formats,
        source,
        multiplications=layer.weight.size * size(source.shape[:-1]),
        parameters=layer.weight.size + (0 if layer.bias is None else layer.bias.size),
        weights=names[0],
        bias=names[1],
    )


WRITERS: Final[dict[type[Layer], Any]] = {Dense: write_dense}


def rounded_parameters(
    layer: str, weight: Floats, bias: Floats | None, formats: LayerFormats, graph: GraphBuilder
) -> tuple[Floats, Floats]:
    """Return weight and bias in their formats, the bias also in the accumulator's; outputs are the last axis.

    Raises:
        ConfigurationError: there is no format for the weights.
    """
    if formats.weight is None:
        raise ConfigurationError(f"{graph.name}: layer '{layer}' has weights, but no number format for them")
    shift = np.zeros(weight.shape[-1]) if bias is None else bias
    kept_bias = rounded_parameter(shift, formats.bias or formats.weight, formats)
    if formats.accumulator is not None:
        kept_bias = formats.accumulator.quantise(kept_bias)
    return rounded_parameter(weight, formats.weight, formats), kept_bias


def rounded_parameter(values: NDArray[Any], target: Format, formats: LayerFormats) -> Floats:
    """Return parameters in a format, by way of hls4ml's text if the layer's formats say so."""
    array = np.asarray(values, dtype=np.float64)
    if not formats.has_text_weights or not isinstance(target, FixedPoint):
        return target.quantise(array)
    decimals = max(0, target.fraction)
    text = [float(f"{value:.{decimals}f}") for value in array.ravel()]
    return target.quantise(np.reshape(text, array.shape))


def finest_fraction(values: Floats) -> int:
    """Return the bits behind the point that hold all values; negative if all are even."""
    present = values[values != 0]
    if present.size == 0:
        return 0
    mantissa, exponent = np.frexp(present)
    integers = np.ldexp(mantissa, 53).astype(np.int64)
    trailing_zeros = np.log2(integers & -integers).astype(np.int64)
    return int(np.max(53 - exponent - trailing_zeros))


def write_product(graph: GraphBuilder, product: Product) -> tuple[Signal, tuple[str, str]]:
    """Write the sums of a product as the accumulator holds them.

    Returns:
        The sums, scaled as the result wants them, and the names of the constants with weights and biases ("": none).
    """
    accumulator = product.formats.accumulator
    if accumulator is not None and not product.is_inside(accumulator):
        if accumulator.overflow != "WRAP" and not product.is_inside(accumulator, is_rounded=True):
            return accumulators.ordered_sums(graph, product, accumulator)
        if product.is_coarse(accumulator):
            sums, names = accumulators.sums_of_rounded(graph, product, accumulator)
            return _in_accumulator(graph, product, sums), names
    sums, names = _exact_sums(graph, product)
    return _in_accumulator(graph, product, sums), names


def _in_accumulator(graph: GraphBuilder, product: Product, sums: Signal) -> Signal:
    accumulator = product.formats.accumulator
    if accumulator is None or _is_wrap_hidden(accumulator, product.formats.result):
        return sums
    return quantise(graph, sums, accumulator, layer=product.layer)


def _is_wrap_hidden(accumulator: FixedPoint, result: Format) -> bool:
    """Whether the result wraps so early that it cannot tell whether the accumulator did."""
    return (
        isinstance(result, FixedPoint)
        and accumulator.overflow == result.overflow == "WRAP"
        and result.integer <= accumulator.integer
        and (result.rounding in _SIGNLESS or result.fraction >= accumulator.fraction)
    )


def _exact_sums(graph: GraphBuilder, product: Product) -> tuple[Signal, tuple[str, str]]:
    low, high = product.range()
    magnitude, fraction, result = max(-low, high), product.fraction, product.formats.result
    scale = result.fraction if isinstance(result, FixedPoint) else int(result.fraction.max())
    dtype = graph.exact_dtype(product.layer, magnitude, fraction)
    if exact_bits(2 * magnitude, max(fraction, scale + 1)) > SIGNIFICAND_BITS[dtype]:
        dtype = FLOAT64  # a half of the result's step must fit too
    name, names = _sums(graph, product, scale, dtype)
    return Signal(name, product.shape, scale, fraction, low, high, dtype), names


def _wrapped_at_once(graph: GraphBuilder, product: Product) -> tuple[Signal, tuple[str, str]] | None:
    """Write the result where it wraps: what rounding and wrapping add goes into the bias. None: not this product."""
    result, accumulator = product.formats.result, product.formats.accumulator
    if not isinstance(result, FixedPoint) or result.overflow != "WRAP":
        return None
    if (
        accumulator is not None
        and not product.is_inside(accumulator)
        and (product.is_coarse(accumulator) or not _is_wrap_hidden(accumulator, result))
    ):
        return None
    low, high = product.range()
    nudge = rounding.nudge(result, product.fraction)
    if nudge is None or (low >= result.lowest and high + result.step <= result.highest):
        return None
    finest = max(product.fraction, result.fraction) + 2
    if exact_bits(max(-low, high) + result.step, finest) > SIGNIFICAND_BITS[FLOAT64]:
        return None
    added = nudge + (2.0**-finest if result.is_signed else 0.0)
    dtype = graph.exact_dtype(product.layer, max(-low, high) + result.step, finest)
    name, names = _sums(graph, product, -result.integer, dtype, added)
    done = rounding.wrapped_nudged(graph, name, result, dtype)
    return dataclasses.replace(done, shape=product.shape), names


def _sums(
    graph: GraphBuilder, product: Product, scale: int, dtype: np.dtype[Any], added: float = 0.0
) -> tuple[str, tuple[str, str]]:
    """Write sums times ``2**scale``, with something added to each before."""
    source = graph.cast(product.source, dtype)
    names = product.constants(graph, dtype)
    weight = graph.scaled(names[0], scale - source.scale, dtype)
    bias = names[1]
    if added:
        extra = graph.constant(np.full(product.weight.shape[1], added), dtype)
        bias = graph.node("Add", [bias, extra]) if bias else extra
    if bias:
        bias = graph.scaled(bias, scale, dtype)
    if len(source.shape) == 1:
        return graph.node("Gemm", [source.name, weight, bias][: 3 if bias else 2], name=f"{product.layer}_sums"), names
    name = graph.node("MatMul", [source.name, weight], name=f"{product.layer}_sums")
    return graph.node("Add", [name, bias]) if bias else name, names
