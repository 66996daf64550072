"""The formats that hls4ml would give every layer of a network under a configuration."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.layer_formats import LayerFormats, SoftmaxFormats
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import (
    Activation,
    Conv,
    Dense,
    Layer,
    Merge,
    Pool,
    Quantise,
    Reshape,
    Scale,
    Softmax,
    Transpose,
    UpSample,
)
from evtfw.external.emulator.reading import inference
from evtfw.external.emulator.reading.folding import MayFold
from evtfw.external.emulator.reading.hls4ml_config import Hls4mlConfiguration, LayerNames
from evtfw.external.emulator.reading.layer_names import names_of
from evtfw.external.emulator.reading.onnx_graph import Node
from evtfw.external.emulator.reading.onnx_reader import ReadModel
from evtfw.external.emulator.reading.reader import Affine
from evtfw.external.emulator.reading.reuse import Implementation, implementation_of

# hls4ml's defaults: backends/fpga/fpga_backend.py, attributes of Activation and Softmax.
TABLE: Final = FixedPoint(18, 8)
SOFTMAX_TABLE: Final = FixedPoint(18, 8, rounding="RND", overflow="SAT")
TABLE_SIZE: Final = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Resolved:
    """What a configuration means for a network.

    Args:
        formats: by name of the layer or of the network's input.
        implementations: reuse factor and strategy, by name of the layer.
        notes: remarks for the card.
    """

    formats: Mapping[str, LayerFormats]
    implementations: Mapping[str, Implementation]
    notes: tuple[str, ...]


def folding_rule(configuration: Hls4mlConfiguration, sources: Mapping[str, Node]) -> MayFold:
    """Return hls4ml's rule of what is folded.

    A normalisation is folded into the layer before it only if that layer's result is left to hls4ml (``auto``). So is a
    bias that an ONNX model adds in a node of its own; Keras and PyTorch have biases within the layer, so a bias is
    folded if nothing says that hls4ml read the model as ONNX.
    """

    def may_fold(before: Layer, affine: Affine) -> bool:
        if configuration.precision(names_of(before, sources), "result") is None:
            return True
        is_own_bias = affine.is_bias and isinstance(before, (Dense, Conv)) and before.bias is None
        return is_own_bias and not _is_of_onnx(configuration, sources)

    return may_fold


def _is_of_onnx(configuration: Hls4mlConfiguration, sources: Mapping[str, Node]) -> bool:
    """Whether hls4ml read the model by its ONNX front end, as far as the configuration tells."""
    named = (node.name for node in sources.values() if node.op in ("MatMul", "Conv", "Add"))
    return configuration.is_of_onnx or any(configuration.has_name(name) for name in named)


def resolve(read: ReadModel, configuration: Hls4mlConfiguration) -> Resolved:
    """Return the formats of all layers and inputs.

    Raises:
        ConfigurationError: the configuration names layers that the model does not have, or formats that can't be.
    """
    resolver = _Resolver(read, configuration)
    for tensor in read.network.inputs:
        names = LayerNames((tensor.name,), "Input")
        resolver.put(tensor.name, tensor.name, LayerFormats(result=resolver.precision(names, "result")))
    for layer in read.network.layers:
        resolver.add(layer)
    problems = configuration.unused(sorted(read.nodes))
    if problems:
        raise ConfigurationError(problems)
    return Resolved(resolver.formats, resolver.implementations, tuple(resolver.notes))


class _Resolver:
    def __init__(self, read: ReadModel, configuration: Hls4mlConfiguration) -> None:
        self.read = read
        self.configuration = configuration
        self.maximum = configuration.maximum
        self.is_of_onnx = _is_of_onnx(configuration, read.sources)
        self.formats: dict[str, LayerFormats] = {}
        self.implementations: dict[str, Implementation] = {}
        self.notes: list[str] = []
        self._of_tensor: dict[str, FixedPoint] = {}

    def put(self, name: str, tensor: str, formats: LayerFormats) -> None:
        """Keep the formats of a layer, whose result is fixed for all values."""
        if not isinstance(formats.result, FixedPoint):
            raise ConfigurationError(f"'{name}' has a format for each value; such models need no configuration")
        self.formats[name] = formats
        self._of_tensor[tensor] = formats.result

    def precision(self, names: LayerNames, variable: str) -> FixedPoint:
        """Return a precision that is the model's default if it is left to hls4ml."""
        return self.configuration.precision(names, variable) or self.configuration.default

    def add(self, layer: Layer) -> None:
        """Find the formats of a layer whose inputs' are known."""
        names = names_of(layer, self.read.sources)
        sources = [self._of_tensor[tensor] for tensor in layer.inputs]
        self.put(layer.name, layer.output, self._formats(layer, names, sources))
        if isinstance(layer, (Dense, Conv)):
            made = implementation_of(self.configuration, names, layer)
            self.implementations[layer.name] = made
            formats = self.formats[layer.name]
            self.formats[layer.name] = dataclasses.replace(formats, summation_stride=made.summation_stride(layer))
        ignored = self.configuration.ignored(names)
        if ignored:
            self.notes.append(
                f"hls4ml does not heed Precision: {', '.join(ignored)} of '{names.names[0]}', and so neither does this "
                f"model; the keys that it heeds are {', '.join(f'{name}_t' for name in ignored)}"
            )

    def _formats(self, layer: Layer, names: LayerNames, sources: list[FixedPoint]) -> LayerFormats:
        if isinstance(layer, (Dense, Conv)):
            return self._product(layer, names, sources[0])
        if isinstance(layer, Scale):
            return self._scale(layer, names, sources[0])
        if isinstance(layer, Softmax):
            return self._softmax(names, sources[0])
        if isinstance(layer, Activation):
            return self._activation(layer, names)
        if isinstance(layer, Pool):
            return self._pool(layer, names, sources[0])
        if isinstance(layer, Merge):
            return LayerFormats(result=self.configuration.precision(names, "result") or self._merged(layer, sources))
        if isinstance(layer, Quantise):
            return LayerFormats(result=layer.format)
        return LayerFormats(result=self._moved(layer, names, sources[0]))

    def _moved(self, layer: Layer, names: LayerNames, source: FixedPoint) -> FixedPoint:
        """hls4ml reshapes in place, whatever the precision; transposing and up-sampling copy."""
        is_copy = isinstance(layer, (Transpose, UpSample)) and layer.name in self.read.sources
        if isinstance(layer, Reshape) or not is_copy:
            return source
        return self.configuration.precision(names, "result") or source

    def _product(self, layer: Dense | Conv, names: LayerNames, source: FixedPoint) -> LayerFormats:
        weight = self.read.weight_formats.get(layer.name) or self.precision(names, "weight")
        bias = self.read.bias_formats.get(layer.name) or self.precision(names, "bias")
        if layer.bias is None and not self.is_of_onnx:
            bias = inference.NO_BIAS
        terms = layer.weight.shape[0] if isinstance(layer, Dense) else math.prod(layer.weight.shape[1:])
        given = [self.configuration.precision(names, variable) for variable in ("accum", "result")]
        if None in given:
            wide = inference.product_sum(source, weight, bias, terms, self.maximum)
            given = [format_ or wide for format_ in given]
        accumulator, result = given
        return LayerFormats(result=result or wide, weight=weight, bias=bias, accumulator=accumulator)

    def _scale(self, layer: Scale, names: LayerNames, source: FixedPoint) -> LayerFormats:
        scale, shift = self.precision(names, "scale"), self.precision(names, "bias")
        op = self.read.sources[layer.name].op if layer.name in self.read.sources else ""
        if op in ("Add", "Sub") and (np.abs(layer.scale) == 1).all():
            scale = FixedPoint(2, 2) if (layer.scale < 0).any() else inference.NO_BIAS
        elif op in ("Mul", "Div") and not layer.shift.any():
            shift = inference.NO_BIAS
        result = self.configuration.precision(names, "result")
        return LayerFormats(
            result=result or inference.scaled(source, scale, shift, self.maximum), weight=scale, bias=shift
        )

    def _activation(self, layer: Activation, names: LayerNames) -> LayerFormats:
        parameter = None
        if names.kind == "ParametrizedActivation":
            parameter = self.configuration.precision(names, "param") or inference.constant(layer.alpha)
        has_table = layer.function in ("elu", "sigmoid", "tanh")
        return LayerFormats(
            result=self.precision(names, "result"),
            parameter=parameter,
            table=(self.configuration.type_of(names, "table") or TABLE) if has_table else None,
            table_size=int(self.configuration.value(names, "TableSize", TABLE_SIZE)),
        )

    def _softmax(self, names: LayerNames, source: FixedPoint) -> LayerFormats:
        configuration = self.configuration
        inverse = configuration.type_of(names, "inv_table") or SOFTMAX_TABLE
        strategy = str(configuration.value(names, "Implementation", "stable")).lower()
        # hls4ml: passes/fix_softmax_table_size.py and SoftmaxConfigTemplate in passes/core_templates.py.
        size = min(int(configuration.value(names, "TableSize", TABLE_SIZE)), 2 ** min(source.width, inverse.width))
        width, integer = source.width - source.is_signed, source.integer - source.is_signed
        is_stable = strategy == "stable"
        softmax = SoftmaxFormats(
            strategy=strategy,  # type: ignore[arg-type]
            exponential=configuration.type_of(names, "exp_table") or SOFTMAX_TABLE,
            inverse=inverse,
            exponential_size=min(size, 2**width) if is_stable and source.is_signed else size,
            inverse_size=size,
            accumulator=self.configuration.type_of(names, "accum") or self.precision(names, "accum"),
            inverse_input=configuration.type_of(names, "inv_inp") or SOFTMAX_TABLE,
            difference=FixedPoint(width, integer, is_signed=False) if is_stable else None,
        )
        return LayerFormats(result=self.precision(names, "result"), softmax=softmax)

    def _pool(self, layer: Pool, names: LayerNames, source: FixedPoint) -> LayerFormats:
        accumulator, result = (self.configuration.precision(names, variable) for variable in ("accum", "result"))
        if names.kind.startswith("Global"):
            return LayerFormats(
                result=result or self.configuration.default, accumulator=accumulator or self.configuration.default
            )
        wide = source if layer.function == "max" else inference.averaged(source, math.prod(layer.window))
        return LayerFormats(result=result or source, accumulator=accumulator or wide)

    def _merged(self, layer: Merge, sources: list[FixedPoint]) -> FixedPoint:
        result = sources[0]
        for source in sources[1:]:
            if layer.operation == "concatenate":
                result = inference.joined(result, source, self.maximum)
            elif layer.operation == "multiply":
                result = inference.multiplied(result, source, self.maximum)
            else:
                is_difference = layer.operation == "subtract"
                result = inference.added(result, source, self.maximum, is_difference=is_difference)
        return result
