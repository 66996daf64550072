"""Formats for networks that round their values themselves (QONNX, HGQ2): everything between is exact.

Results of layers get formats wide enough for every value that can come, found from the bounds of their inputs, so that
only the source's own `Quantise` layers round. Tables (sigmoid, tanh, softmax) and means over windows that are no power
of two cannot be exact; they are computed as hls4ml does by default, and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, SoftmaxFormats
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid
from evtfw.external.emulator.network import (
    Activation,
    Conv,
    Dense,
    Floats,
    Layer,
    Merge,
    Network,
    Pool,
    Quantise,
    Scale,
    Softmax,
)
from evtfw.external.emulator.reading.hls4ml_formats import SOFTMAX_TABLE, TABLE, TABLE_SIZE

Format: TypeAlias = FixedPoint | FixedPointGrid

_MOST_BITS: Final = 20
"""Of parameters that the source does not quantise; more means that they were not meant to be fixed-point."""
_RESULT: Final = FixedPoint(18, 2, rounding="RND", overflow="SAT")
"""Of tables: sigmoid, tanh and softmax stay within -1 and 1."""


def resolve(
    network: Network,
    weights: Mapping[str, FixedPoint],
    biases: Mapping[str, FixedPoint],
    file: str,
) -> tuple[dict[str, LayerFormats], list[str]]:
    """Return the formats of all layers and inputs, and remarks.

    Args:
        network: whose inputs are quantised first of all.
        weights, biases: formats of parameters that the source quantises, by name of the layer.
        file: for messages.

    Raises:
        ConfigurationError: an input or a layer's parameters are not quantised by the source.
    """
    found = _Native(network, weights, biases, file)
    problems = found.inputs()
    for layer in network.layers if not problems else ():
        try:
            found.add(layer)
        except ConfigurationError as error:
            problems += [f"{file}: layer '{layer.name}': {problem}" for problem in error.problems]
            break
    if problems:
        raise ConfigurationError(problems)
    return found.formats, found.notes


class _Native:
    def __init__(
        self, network: Network, weights: Mapping[str, FixedPoint], biases: Mapping[str, FixedPoint], file: str
    ) -> None:
        self.network = network
        self.weights = weights
        self.biases = biases
        self.file = file
        self.formats: dict[str, LayerFormats] = {}
        self.notes: list[str] = []
        self._of_tensor: dict[str, FixedPoint] = {}

    def inputs(self) -> list[str]:
        """Give each input the format of the rounding that comes first; return what is wrong."""
        problems = []
        for tensor in self.network.inputs:
            users = [layer for layer in self.network.layers if tensor.name in layer.inputs]
            formats = [layer.format for layer in users if isinstance(layer, Quantise)]
            same = {str(format_) for format_ in formats}
            if len(formats) < len(users) or len(same) != 1 or (isinstance(formats[0], FixedPointGrid) and users[1:]):
                problems.append(
                    f"{self.file}: nothing quantises input '{tensor.name}' before its first use; quantise it in the "
                    f"source, or give all formats by a configuration of hls4ml (--format hls4ml --config FILE)"
                )
            else:
                self._put(tensor.name, tensor.name, LayerFormats(result=formats[0]))
        return problems

    def _put(self, name: str, tensor: str, formats: LayerFormats) -> None:
        self.formats[name] = formats
        self._of_tensor[tensor] = _uniform(formats.result)

    def add(self, layer: Layer) -> None:
        """Find the formats of a layer whose inputs' are known."""
        sources = [self._of_tensor[tensor] for tensor in layer.inputs]
        self._put(layer.name, layer.output, self._formats(layer, sources))

    def _formats(self, layer: Layer, sources: list[FixedPoint]) -> LayerFormats:
        source = sources[0]
        if isinstance(layer, Quantise):
            return LayerFormats(result=layer.format)
        if isinstance(layer, (Dense, Conv)):
            return self._product(layer, source)
        if isinstance(layer, Scale):
            return self._scale(layer, source)
        if isinstance(layer, Softmax):
            return self._softmax(layer, source)
        if isinstance(layer, Activation):
            return self._activation(layer, source)
        if isinstance(layer, Pool):
            return self._pool(layer, source)
        if isinstance(layer, Merge):
            return LayerFormats(result=_merged(layer, sources))
        return LayerFormats(result=source)

    def _product(self, layer: Dense | Conv, source: FixedPoint) -> LayerFormats:
        weight = self._parameter(layer.name, "weights", layer.weight, self.weights)
        bias = None if layer.bias is None else self._parameter(layer.name, "biases", layer.bias, self.biases)
        axes = 0 if isinstance(layer, Dense) else tuple(range(1, layer.weight.ndim))
        ends = np.array([source.lowest, source.highest])
        products = layer.weight[..., None] * ends
        shift = 0.0 if layer.bias is None else layer.bias
        lowest, highest = (np.sum(pick(products, -1), axis=axes) + shift for pick in (np.min, np.max))
        fraction = max(source.fraction + weight.fraction, bias.fraction if bias else -99)
        # Padding puts zeros where values would be, so a sum may stop short of its bounds.
        result = covering(min(float(np.min(lowest)), 0.0), max(float(np.max(highest)), 0.0), fraction)
        return LayerFormats(result=result, weight=weight, bias=bias, has_text_weights=False)

    def _scale(self, layer: Scale, source: FixedPoint) -> LayerFormats:
        scale = self._parameter(layer.name, "scales", layer.scale, self.weights)
        shift = self._parameter(layer.name, "shifts", layer.shift, self.biases)
        ends = np.stack([layer.scale * end + layer.shift for end in (source.lowest, source.highest)])
        fraction = max(source.fraction + scale.fraction, shift.fraction)
        result = covering(float(ends.min()), float(ends.max()), fraction)
        return LayerFormats(result=result, weight=scale, bias=shift, has_text_weights=False)

    def _activation(self, layer: Activation, source: FixedPoint) -> LayerFormats:
        if layer.function in ("relu", "linear"):
            return LayerFormats(result=source)
        if layer.function == "clipped_relu":
            bound = exact(np.array([layer.alpha]))
            fraction = max(source.fraction, bound.fraction)
            return LayerFormats(result=covering(0.0, layer.alpha, fraction), parameter=bound)
        if layer.function == "leaky_relu":
            slope = exact(np.array([np.float32(layer.alpha)]))
            if slope.width <= _MOST_BITS:
                ends = [source.lowest * layer.alpha, source.lowest, source.highest]
                result = covering(min(ends), max(ends), source.fraction + slope.fraction)
                return LayerFormats(result=result, parameter=slope)
            raise ConfigurationError(f"its slope {layer.alpha:g} needs {slope.width} bits; take a power of two")
        self.notes.append(
            f"'{layer.name}' ({layer.function}) is a table of {TABLE_SIZE} entries, as on the device; the source "
            f"computes it in floating point"
        )
        return LayerFormats(result=_RESULT, parameter=exact(np.array([1.0])), table=TABLE, table_size=TABLE_SIZE)

    def _softmax(self, layer: Softmax, source: FixedPoint) -> LayerFormats:
        self.notes.append(
            f"'{layer.name}' (softmax) is made of tables of {TABLE_SIZE} entries, as on the device; the source "
            f"computes it in floating point"
        )
        width, integer = source.width - source.is_signed, source.integer - source.is_signed
        size = min(TABLE_SIZE, 2**width)
        softmax = SoftmaxFormats(
            strategy="stable",
            exponential=SOFTMAX_TABLE,
            inverse=SOFTMAX_TABLE,
            exponential_size=size,
            inverse_size=TABLE_SIZE,
            accumulator=SOFTMAX_TABLE,
            inverse_input=SOFTMAX_TABLE,
            difference=FixedPoint(width, integer, is_signed=False),
        )
        return LayerFormats(result=_RESULT, softmax=softmax)

    def _pool(self, layer: Pool, source: FixedPoint) -> LayerFormats:
        if layer.function == "max":
            return LayerFormats(result=source)
        terms = math.prod(layer.window)
        growth = math.ceil(math.log2(terms))
        wide = FixedPoint(source.width + 2 * growth, source.integer + growth, source.is_signed)
        if terms & (terms - 1) or any(layer.pads):
            self.notes.append(
                f"'{layer.name}' is a mean of up to {terms} values, rounded down to {wide.fraction} bits behind the "
                f"point; the source divides in floating point"
            )
        return LayerFormats(result=wide, accumulator=wide)

    def _parameter(self, name: str, what: str, values: Floats, known: Mapping[str, FixedPoint]) -> FixedPoint:
        """Return a format that holds all parameters of a layer exactly."""
        needed = exact(values)
        if name not in known and needed.width > _MOST_BITS:
            raise ConfigurationError(
                f"its {what} are not quantised by the source; quantise them there, or give all formats by a "
                f"configuration of hls4ml (--format hls4ml --config FILE)"
            )
        return needed


def exact(values: Floats) -> FixedPoint:
    """Return the narrowest signed format that holds values exactly.

    >>> str(exact(np.array([0.5, -3.0])))
    'ap_fixed<4,3>'
    """
    mantissas, exponents = np.frexp(values[values != 0].astype(np.float64))
    if not exponents.size:
        return FixedPoint(1, 1)
    wholes = np.abs(np.ldexp(mantissas, 53)).astype(np.int64)
    trailing = np.log2(wholes & -wholes).astype(np.int64)
    fraction = int((53 - trailing - exponents).max())
    return covering(float(values.min()), float(values.max()), fraction)


def covering(lowest: float, highest: float, fraction: int) -> FixedPoint:
    """Return the narrowest signed format with so many bits behind the point that holds values between two bounds.

    Raises:
        ConfigurationError: it would be wider than what can be computed with.
    """
    steps = [math.ceil(highest * 2.0**fraction) + 1, math.ceil(-lowest * 2.0**fraction)]
    bits = max(max(step, 1) - 1 for step in steps).bit_length() + 1
    return FixedPoint(bits, bits - fraction)


def _uniform(format_: Format) -> FixedPoint:
    """Return a format that holds all values of a grid."""
    if isinstance(format_, FixedPoint):
        return format_
    has_bits = format_.width > 0
    if not has_bits.any():
        return FixedPoint(1, 1)
    fraction = int(format_.fraction[has_bits].max())
    return covering(float(format_.lowest.min()), float(format_.highest.max()), fraction)


def _merged(layer: Merge, sources: list[FixedPoint]) -> FixedPoint:
    lowest, highest, fraction = sources[0].lowest, sources[0].highest, sources[0].fraction
    for source in sources[1:]:
        if layer.operation == "multiply":
            ends = [one * two for one in (lowest, highest) for two in (source.lowest, source.highest)]
            lowest, highest, fraction = min(ends), max(ends), fraction + source.fraction
            continue
        fraction = max(fraction, source.fraction)
        if layer.operation == "concatenate":
            lowest, highest = min(lowest, source.lowest), max(highest, source.highest)
        elif layer.operation == "add":
            lowest, highest = lowest + source.lowest, highest + source.highest
        else:
            lowest, highest = lowest - source.highest, highest - source.lowest
    return covering(lowest, highest, fraction)
