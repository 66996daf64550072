"""Networks of block floating point: weights rounded once, the input of each layer rounded by plain ONNX nodes.

What these nodes do is exact: the operands of each layer have the bits of `Msfp.quantise`. Products of two of them are
exact in float32, too; their sums are float32's, in onnxruntime's order, as are biases and all between the layers. The
sum of n products p is off by at most about n * 2**-24 * sum(abs(p)) (Higham, Accuracy and Stability of Numerical
Algorithms, section 3.1), and so a value near a tie of the next layer's rounding may fall to its other side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evtfw.external.emulator.formats.msfp import Msfp
from evtfw.external.emulator.quantised.cards import Formats
from evtfw.external.emulator.quantised.graph import Graph
from evtfw.external.emulator.quantised.targets import Target

if TYPE_CHECKING:
    from onnx import NodeProto

_NEVER_NEGATIVE: Final = frozenset({"Relu", "Sigmoid", "Softmax", "Abs", "Exp", "Softplus", "HardSigmoid"})
_AS_ITS_INPUTS: Final = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Reshape", "Flatten", "Transpose", "Squeeze"}
    | {"Unsqueeze", "Concat", "Add"}
)
"""Operators that make no negative values of values that are not negative."""


class MsfpRewriter:
    """Rewrites a folded graph in place.

    Args:
        graph: in float.
        targets: layers to be quantised, none of them depthwise.
        number_format: of weights and of what layers take.
    """

    def __init__(self, graph: Graph, targets: Mapping[str, Target], number_format: Msfp) -> None:
        self._graph, self._targets, self._format = graph, targets, number_format
        self._producers = graph.producers()
        self._rounded: dict[tuple[str, int, int], str] = {}
        self._nodes: list[NodeProto] = []
        # The shared constants of the nodes; rounding adds and subtracts a number whose last bit is one step.
        mantissa = number_format.mantissa_bits
        above = np.float32(2.0 ** (number_format.highest_exponent + 1))
        values = {
            "smallest": 2.0**number_format.lowest_exponent,
            "largest": np.nextafter(above, np.float32(0)),
            "two_to_23": 2.0**23,
            "five_eighths": 0.625,
            "rounder": 1.5 * 2.0 ** (24 - mantissa),
            "highest": 2.0 - 2.0 ** (1 - mantissa),
        }
        self._constants = {
            name: graph.constant(f"msfp_{name}", np.asarray(value, np.float32)) for name, value in values.items()
        }

    def exact_nodes(self) -> set[str]:
        """Names of nodes between layers that are exact: none."""
        return set()

    def rewrite(self) -> tuple[dict[str, Formats], list[str]]:
        """Rewrite the graph; return the formats of layers by name, and notes."""
        formats = {}
        for node in self._graph.nodes:
            target = self._targets.get(node.name)
            if target is None:
                self._nodes.append(node)
            else:
                formats[node.name] = self._layer(target)
        self._graph.nodes = self._nodes
        note = (
            f"exact: weights and inputs of {len(formats)} layers have the bits of {self._format}; bounded: sums of n "
            "products p in float32, off by at most about n * 2**-24 * sum(|p|), and what is between the layers"
        )
        return formats, [note]

    def _layer(self, target: Target) -> Formats:
        from onnx import helper

        axis = 0 if target.node.op_type == "MatMul" else 1
        weight = self._graph.constant(f"{target.name}_weight_rounded", self._format.quantise(target.weight, axis))
        inputs = [self._round(target), weight, *target.node.input[2:]]
        node = helper.make_node(target.node.op_type, inputs, target.node.output, target.name)
        node.attribute.extend(target.node.attribute)
        self._nodes.append(node)
        return Formats(
            weights=weight,
            bias=inputs[2] if len(inputs) > 2 else "",
            input_format=str(self._format),
            weight_format=str(self._format),
            bias_format="float32" if target.bias is not None else "",
            accumulator_format="float32",
            result_format="float32",
        )

    # Rounding what a layer takes

    def _round(self, target: Target) -> str:
        """Add nodes that round what a layer takes; return the name of the result."""
        groups, length = target.groups, target.weight.shape[0 if target.node.op_type == "MatMul" else 1]
        key = (target.data, groups, length)
        if key not in self._rounded:
            box = min(self._format.box_size, length)
            if groups == 1 and box == length:  # one box: as it is
                axis = -1 if target.node.op_type == "MatMul" else 1
                self._rounded[key] = self._round_boxes(target.data, target.data, axis)
            else:
                self._rounded[key] = self._round_in_boxes(target, groups, length, box)
        return self._rounded[key]

    def _round_in_boxes(self, target: Target, groups: int, length: int, box: int) -> str:
        """Bring the boxes of a tensor to an axis of their own, round, and bring them back."""
        data, boxes = target.data, -(-length // box)
        is_conv = target.node.op_type == "Conv"
        rank = len(self._graph.shape(data) or ()) if target.node.op_type == "MatMul" else 2
        before, behind = [0] * (rank - 1), [self._positions(data)] if is_conv else []
        padding = boxes * box - length
        view = data
        if padding:
            view = self._reshape(view, [*before, groups, length, *behind], f"{data}_groups")
            view = self._add("Pad", f"{data}_padded", view, self._whole([0, padding]), "", self._whole([rank]))
        view = self._reshape(view, [*before, groups * boxes, box, *behind], f"{data}_boxes")
        view = self._round_boxes(data, view, axis=rank)
        if padding:
            view = self._reshape(view, [*before, groups, boxes * box, *behind], f"{data}_padded_groups")
            ends = [self._whole([value]) for value in (0, length, rank)]
            view = self._add("Slice", f"{data}_cut", view, *ends)
        return self._like(view, data)

    def _round_boxes(self, data: str, view: str, axis: int) -> str:
        """Round a tensor whose boxes lie along an axis.

        The power of two below a box's maximum a is (5/8 a + 2**23 a) - 2**23 a: the last bit of 2**23 a is worth just
        that power, and 5/8 a is nearest to one of it. (A logarithm would be slow, and wrong at some powers of two.)
        """
        constants = self._constants
        is_signed = not self._is_never_negative(data)
        magnitude = self._add("Abs", f"{data}_magnitude", view) if is_signed else view
        largest = self._add("ReduceMax", f"{data}_largest", magnitude, self._whole([axis]), keepdims=1)
        largest = self._add("Clip", f"{data}_clipped", largest, constants["smallest"], constants["largest"])
        shifted = self._add("Mul", f"{data}_shifted", largest, constants["two_to_23"])
        part = self._add("Mul", f"{data}_part", largest, constants["five_eighths"])
        power = self._add("Sub", f"{data}_power", self._add("Add", f"{data}_sum", part, shifted), shifted)
        rounder = self._add("Mul", f"{data}_rounder", power, constants["rounder"])
        highest = self._add("Mul", f"{data}_highest", power, constants["highest"])
        rounded = self._add("Sub", f"{data}_rounded", self._add("Add", f"{data}_raised", view, rounder), rounder)
        rounded = self._add("Min", f"{data}_below", rounded, highest)
        if is_signed:
            lowest = self._add("Neg", f"{data}_lowest", highest)
            rounded = self._add("Max", f"{data}_above", rounded, lowest)
        return rounded

    def _is_never_negative(self, tensor: str) -> bool:
        node = self._producers.get(tensor)
        if node is None:
            return bool((self._graph.constants[tensor] >= 0).all()) if tensor in self._graph.constants else False
        if node.op_type == "Clip":
            lowest = self._graph.constants.get(node.input[1]) if len(node.input) > 1 else None
            return lowest is not None and float(lowest) >= 0
        if node.op_type in ("Reshape", "Squeeze", "Unsqueeze"):
            return self._is_never_negative(node.input[0])
        is_like_inputs = node.op_type in _AS_ITS_INPUTS
        return node.op_type in _NEVER_NEGATIVE or (is_like_inputs and all(map(self._is_never_negative, node.input)))

    # Shapes

    def _positions(self, tensor: str) -> int:
        """Number of values behind axis 1 of a convolution's input; -1 if free."""
        lengths = (self._graph.shape(tensor) or (None, None, None))[2:]
        return math.prod(lengths) if all(lengths) else -1  # type: ignore[arg-type]

    def _like(self, view: str, tensor: str) -> str:
        """Bring values back to the shape of a tensor."""
        shape = self._graph.shape(tensor)
        if shape is not None and all(shape[1:]):
            return self._reshape(view, [0, *map(int, filter(None, shape[1:]))], f"{tensor}_msfp")
        return self._add("Reshape", f"{tensor}_msfp", view, self._add("Shape", f"{tensor}_shape", tensor))

    def _reshape(self, tensor: str, shape: list[int], name: str) -> str:
        return self._add("Reshape", name, tensor, self._whole(shape))

    def _whole(self, values: list[int]) -> str:
        name = "whole_" + "_".join(map(str, values)).replace("-", "minus_")
        if name not in self._constants:
            self._constants[name] = self._graph.constant(name, np.asarray(values, np.int64))
        return self._constants[name]

    def _add(self, kind: str, result: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its result."""
        from onnx import helper

        result = self._graph.fresh(result)
        self._nodes.append(helper.make_node(kind, inputs, [result], f"{result}_{kind.lower()}", **attributes))
        return result
