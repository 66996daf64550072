"""Networks of 8-bit fixed point, as ONNX' QuantizeLinear and DequantizeLinear around each layer.

onnxruntime runs them as integer kernels. These equal the float operators between the two to the bit, because all scales
are powers of two: products and sums are integers in one scale, exact in float32 below 2**24 and in int32 always.

One exception: on x86 processors without VNNI the integer kernels add pairs of products in 16 bits, and saturate, unless
the session has ``session.x64quantprecision`` set to 1. (With VNNI that only costs time, a factor of 2.5.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.fixed8 import (
    HIGHEST_EXPONENT,
    LOWEST_EXPONENT,
    Fixed8,
    Scale,
    smallest_exponents,
)
from evtfw.external.emulator.quantised.calibration import calibrate
from evtfw.external.emulator.quantised.cards import Formats
from evtfw.external.emulator.quantised.graph import Graph
from evtfw.external.emulator.quantised.storage import plan_storage
from evtfw.external.emulator.quantised.targets import Target

if TYPE_CHECKING:
    from onnx import NodeProto

_LARGEST_BIAS: Final = 2**23
"""In steps of the products; half of what float32 counts exactly."""
_EXACT_SUM: Final = 2**24
_LARGEST_SUM: Final = 2**31
_MEANS: Final = frozenset({"GlobalAveragePool", "AveragePool"})


class Fixed8Rewriter:
    """Rewrites a folded graph in place.

    Args:
        graph: in float.
        targets: layers to be quantised.
        number_format: of the whole network.
        rows: calibration, [rows, ...] for each input.
    """

    def __init__(
        self, graph: Graph, targets: Mapping[str, Target], number_format: Fixed8, rows: Mapping[str, NDArray[Any]]
    ) -> None:
        self._graph, self._targets, self._format = graph, targets, number_format
        measured_at = plan_storage(graph, targets)
        measured = calibrate(graph, set(measured_at.values()), rows, number_format.coverage_percent)
        self._scales = {tensor: measured[place] for tensor, place in measured_at.items()}
        self._consumers = graph.consumers()
        self._stored: dict[str, str] = {}
        self._long_sums: list[str] = []
        self._nodes: list[NodeProto] = []

    def exact_nodes(self) -> set[str]:
        """Names of nodes between layers that compute with integers, so that nothing but the result is rounded."""
        return {
            node.name
            for node in self._graph.nodes
            if node.op_type in _MEANS | {"Add", "Sub"} and all(name in self._scales for name in node.input)
        }

    def rewrite(self) -> tuple[dict[str, Formats], list[str]]:
        """Rewrite the graph; return the formats of layers by name, and notes."""
        formats = {}
        for tensor in self._graph.inputs:
            self._store(tensor, tensor)
        for node in self._graph.nodes:
            target = self._targets.get(node.name)
            if target is None:
                self._nodes.append(node)
            else:
                formats[node.name] = self._layer(target)
            self._take_stored(self._nodes[-1])
            for position, tensor in enumerate(node.output):
                self._store_output(tensor, position, is_mean=node.op_type in _MEANS)
        self._graph.nodes = self._nodes
        return formats, [_note_on_sums(self._long_sums, len(formats))]

    # Values between layers

    def _take_stored(self, node: NodeProto) -> None:
        for position, tensor in enumerate(node.input):
            node.input[position] = self._stored.get(tensor, tensor)

    def _store_output(self, tensor: str, position: int, *, is_mean: bool) -> None:
        if tensor not in self._scales:
            return
        if tensor in self._graph.outputs:
            source = self._graph.fresh(f"{tensor}_exact")
            self._nodes[-1].output[position] = source
            self._store(tensor, source, result=tensor, is_mean=is_mean)
        else:
            self._store(tensor, tensor, is_mean=is_mean)

    def _store(self, tensor: str, source: str, *, result: str | None = None, is_mean: bool = False) -> None:
        """Add nodes that round a tensor, if it is stored in 8 bits; those behind it take ``result``."""
        from onnx import helper

        scale = self._scales.get(tensor)
        if scale is None:
            return
        integers = self._graph.fresh(f"{tensor}_integers")
        result = result or self._graph.fresh(f"{tensor}_stored")
        # Signed values are unsigned ones around 128: the integer kernels for these are more than twice as fast.
        zero = self._graph.constant(f"{tensor}_zero", np.asarray(128 if scale.is_signed else 0, np.uint8))
        step = self._graph.constant(f"{tensor}_step", np.asarray(scale.step, np.float32))
        rounding_step = step
        if is_mean:
            source, rounding_step = self._double(tensor, source, scale)
        self._nodes += [
            helper.make_node("QuantizeLinear", [source, rounding_step, zero], [integers], f"{integers}_quantise"),
            helper.make_node("DequantizeLinear", [integers, step, zero], [result], f"{integers}_dequantise"),
        ]
        self._stored[tensor] = result

    def _double(self, tensor: str, source: str, scale: Scale) -> tuple[str, str]:
        """Add a node that doubles a mean, to be rounded in doubled steps: the same, but left in float.

        The integer kernels of onnxruntime multiply with the rounded reciprocal of the number of values, and so miss
        ties, of 41 values for example; the division of float32 finds them.
        """
        from onnx import helper

        doubled = self._graph.fresh(f"{tensor}_doubled")
        two = self._graph.constant("two", np.asarray(2, np.float32))
        self._nodes.append(helper.make_node("Mul", [source, two], [doubled], f"{doubled}_mul"))
        return doubled, self._graph.constant(f"{tensor}_doubled_step", np.asarray(2 * scale.step, np.float32))

    # Layers

    def _layer(self, target: Target) -> Formats:
        """Add a layer of integers."""
        from onnx import helper

        scale = self._scales[target.data]
        bias = np.zeros(target.outputs) if target.bias is None else target.bias.astype(np.float64)
        exponents = self._weight_exponents(target, bias, scale)
        shape = [-1 if axis == target.output_axis else 1 for axis in range(target.weight.ndim)]
        steps = np.ldexp(target.weight.astype(np.float64), -exponents.reshape(shape))
        integers = np.clip(np.rint(steps), -127, 127).astype(np.int8)
        bias_integers = np.rint(np.ldexp(bias, -exponents - scale.exponent)).astype(np.int32)
        self._check_sums(target, integers, bias_integers, scale)
        weight, weight_values = self._dequantised(target, "weight", integers, exponents, target.output_axis)
        inputs, bias_name = [target.data, weight_values], ""
        if target.bias is not None:
            bias_name, bias_values = self._dequantised(target, "bias", bias_integers, exponents + scale.exponent, 0)
            inputs.append(bias_values)
        node = helper.make_node(target.node.op_type, inputs, target.node.output, target.name)
        node.attribute.extend(target.node.attribute)
        self._nodes.append(node)
        return self._formats(target, weight, bias_name, exponents)

    def _weight_exponents(self, target: Target, bias: NDArray[np.float64], scale: Scale) -> NDArray[np.int64]:
        """Return the exponents of the weights' steps, one for each output."""
        rest = tuple(axis for axis in range(target.weight.ndim) if axis != target.output_axis)
        largest = np.abs(target.weight).max(axis=rest)
        for_bias = np.where(
            bias == 0, LOWEST_EXPONENT, smallest_exponents(np.abs(bias), _LARGEST_BIAS) - scale.exponent
        )
        for_weight = np.where(largest == 0, LOWEST_EXPONENT, smallest_exponents(largest, 127))
        exponents = np.clip(np.maximum(for_bias, for_weight), LOWEST_EXPONENT, HIGHEST_EXPONENT)
        return exponents if self._format.per_channel else np.full_like(exponents, exponents.max())

    def _dequantised(
        self, target: Target, what: str, integers: NDArray[Any], exponents: NDArray[np.int64], axis: int
    ) -> tuple[str, str]:
        """Add integers and the node that scales them; return their names."""
        from onnx import helper

        constant = self._graph.constant(f"{target.name}_{what}_integers", integers)
        steps = np.ldexp(np.float32(1), exponents if self._format.per_channel else exponents[0]).astype(np.float32)
        step = self._graph.constant(f"{target.name}_{what}_step", np.asarray(steps))
        zero = self._graph.constant(f"{target.name}_{what}_zero", np.zeros(steps.shape, integers.dtype))
        values = self._graph.fresh(f"{target.name}_{what}_stored")
        name = f"{values}_dequantise"
        self._nodes.append(helper.make_node("DequantizeLinear", [constant, step, zero], [values], name, axis=axis))
        return constant, values

    def _check_sums(self, target: Target, weight: NDArray[np.int8], bias: NDArray[np.int32], scale: Scale) -> None:
        """Find out how large sums can become, whatever the layer takes."""
        rest = tuple(axis for axis in range(weight.ndim) if axis != target.output_axis)
        largest = np.abs(weight.astype(np.int64)).sum(axis=rest) * (128 if scale.is_signed else 255)
        bound = int((largest + np.abs(bias.astype(np.int64))).max())
        if bound >= _LARGEST_SUM:
            raise ConfigurationError(
                f"layer '{target.name}' sums {weight.size // target.outputs} products, and they can leave the "
                "accumulator's 32 bits; keep it in float, or make it smaller"
            )
        if bound >= _EXACT_SUM:
            self._long_sums.append(target.name)

    def _formats(self, target: Target, weight: str, bias: str, exponents: NDArray[np.int64]) -> Formats:
        result = self._result_scale(target.node.output[0])
        common = Scale(int(exponents[0]), is_signed=True).format
        weight_format = "fixed8" if self._format.per_channel else str(common)
        return Formats(
            weights=weight,
            bias=bias,
            input_format=str(self._scales[target.data].format),
            weight_format=weight_format,
            bias_format="int32" if bias else "",
            accumulator_format="int32",
            result_format=str(result.format) if result else "int32",
        )

    def _result_scale(self, tensor: str) -> Scale | None:
        """Scale that a layer's sums are rounded to, perhaps behind a ReLU; None if they stay as they are."""
        taker = self._graph.only_consumer(tensor, self._consumers)
        bounded = taker.output[0] if taker is not None and taker.op_type == "Relu" else tensor
        return self._scales.get(tensor) or self._scales.get(bounded)


def _note_on_sums(long_sums: list[str], layers: int) -> str:
    if not long_sums:
        return "exact: integer and float kernels of onnxruntime give the same bits, as no sum can reach 2**24"
    named = ", ".join(long_sums[:3]) + (", …" if len(long_sums) > 3 else "")
    return (
        f"in {len(long_sums)} of {layers} layers ({named}) sums can in the worst case reach 2**24; such a sum is exact "
        "in int32, but rounded to 24 bits before it is rounded to 8: one within 2**-24 of a tie may change its last bit"
    )
