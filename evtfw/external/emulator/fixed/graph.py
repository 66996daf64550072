"""An ONNX graph under construction, whose tensors hold fixed-point numbers exactly.

onnxruntime computes in floating point; a sum of products is exact as long as every partial sum is an integer (times a
power of two) below 2**24 in float32, or below 2**53 in float64. So numbers travel as ``value * 2**scale``, mostly as
integers, and each `Signal` carries the bounds from which exactness follows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid
from evtfw.external.emulator.network import Shape, Tensor

if TYPE_CHECKING:
    import onnx

OPSET: Final = 17
IR_VERSION: Final = 8

FLOAT32: Final[np.dtype[Any]] = np.dtype(np.float32)
FLOAT64: Final[np.dtype[Any]] = np.dtype(np.float64)
SIGNIFICAND_BITS: Final = {FLOAT32: 24, FLOAT64: 53}

Format: TypeAlias = FixedPoint | FixedPointGrid


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """A tensor of the graph and what is known of the values in it.

    Args:
        name: of the ONNX tensor; its shape is [rows, *shape].
        shape: of one row.
        scale: the tensor holds ``value * 2**scale``.
        fraction: every value is a multiple of ``2**-fraction``; None: any real number (an input before its rounding).
        lowest, highest: bounds of the values.
        dtype: float32 or float64, that of the tensor.
        format: that it was rounded to; None between the steps of a layer.
    """

    name: str
    shape: Shape
    scale: int
    fraction: int | None
    lowest: float
    highest: float
    dtype: np.dtype[Any]
    format: Format | None = None

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(-self.lowest, self.highest, 0.0)

    @property
    def bits(self) -> float:
        """Bits of significand that hold every value exactly."""
        return np.inf if self.fraction is None else exact_bits(self.magnitude, self.fraction)


def exact_bits(magnitude: float, fraction: int) -> float:
    """Return the bits that hold every multiple of ``2**-fraction`` up to ``magnitude``."""
    return float(np.log2(magnitude) + fraction) if magnitude > 0 else 0.0


class GraphBuilder:
    """Collects nodes and constants.

    Writers of layers read ``signals[name]`` for each of a layer's inputs and set ``signals[layer.output]``.

    Args:
        name: of the network, for messages.
    """

    opsets: ClassVar[Mapping[str, int]] = {"": OPSET}
    """Versions of ONNX's operators, by domain."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.signals: dict[str, Signal] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._scalars: dict[tuple[Any, ...], str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._taken: set[str] = set()

    def node(self, operator: str, inputs: Sequence[str], *, name: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name.

        Args:
            operator: ONNX operator.
            inputs: names of tensors and constants.
            name: wished for its output.
            attributes: of the operator.
        """
        from onnx import helper

        output = self._unique(name or operator.lower())
        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, values: Any, dtype: np.dtype[Any] | type, *, name: str = "") -> str:
        """Add a constant and return its name; equal scalars without a wished name share one."""
        array = np.asarray(values, dtype=dtype)
        if name or array.size > 1:
            unique = self._unique(name or "constant")
            self._constants[unique] = array
            return unique
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._scalars:
            self._scalars[key] = self._unique(f"c{array.ravel()[0]:g}")
            self._constants[self._scalars[key]] = array
        return self._scalars[key]

    def scaled(self, weights: str, exponent: int, dtype: np.dtype[Any]) -> str:
        """Return the constant ``weights`` times ``2**exponent``; onnxruntime multiplies once, when it loads the model.

        So the file keeps the weights as they are, for the cost model and for people.
        """
        if exponent == 0:
            return weights
        return self.node("Mul", [weights, self.constant(2.0**exponent, dtype)], name=f"{weights}_scaled")

    def cast(self, signal: Signal, dtype: np.dtype[Any]) -> Signal:
        """Return the signal in a floating-point type; the caller knows that it holds every value."""
        if signal.dtype == dtype:
            return signal
        name = self.node("Cast", [signal.name], to=_onnx_type(dtype))
        return dataclasses.replace(signal, name=name, dtype=dtype)

    def to_dtype(self, name: str, dtype: np.dtype[Any] | type) -> str:
        """Return a tensor in another type."""
        return self.node("Cast", [name], to=_onnx_type(np.dtype(dtype)))

    def integers(self, name: str, dtype: np.dtype[Any] | type) -> str:
        """Return a tensor cut towards 0 to integers, e.g. the indices of a table."""
        return self.to_dtype(name, dtype)

    def exact_dtype(self, layer: str, magnitude: float, fraction: int, *, at_least: np.dtype[Any] = FLOAT32) -> Any:
        """Return float32 if it holds every multiple of ``2**-fraction`` up to ``magnitude``, else float64.

        Raises:
            ConfigurationError: neither does.
        """
        bits = exact_bits(magnitude, fraction)
        for dtype, exact in SIGNIFICAND_BITS.items():
            if bits <= exact and dtype.itemsize >= at_least.itemsize:
                return dtype
        raise ConfigurationError(
            f"{self.name}: layer '{layer}' has sums of up to {int(np.ceil(bits)) + 1} bits; the emulator is exact up "
            f"to 53. Choose fewer bits for its input, weights or bias"
        )

    def add_input(self, tensor: Tensor) -> Signal:
        """Declare an input of the model: any real numbers."""
        from onnx import helper

        self._taken.add(tensor.name)
        self._inputs.append(helper.make_tensor_value_info(tensor.name, _onnx_type(tensor.dtype), ["n", *tensor.shape]))
        return Signal(tensor.name, tensor.shape, 0, None, -np.inf, np.inf, tensor.dtype)

    def add_output(self, name: str, signal: Signal, dtype: np.dtype[Any]) -> None:
        """Declare an output of the model: the signal's values in a floating-point type."""
        from onnx import helper

        # Rounding to the nearest makes negative zeros, which fixed point has not: 0 - (-x) has none either.
        negative = self.node("Mul", [signal.name, self.constant(-(2.0**-signal.scale), signal.dtype)])
        values = self.node("Sub", [self.constant(0.0, signal.dtype), negative])
        last = self.cast(dataclasses.replace(signal, name=values, scale=0), dtype)
        self._nodes.append(helper.make_node("Identity", [last.name], [name], name=f"{name}_output"))
        self._outputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), ["n", *signal.shape]))

    def reserve(self, names: Sequence[str]) -> None:
        """Keep names for the model's outputs."""
        self._taken.update(names)

    def model(self) -> onnx.ModelProto:
        """Return the finished model.

        Raises:
            onnx.checker.ValidationError: a writer made an invalid graph.
        """
        import onnx
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _unique(self, wished: str) -> str:
        name, count = wished, 1
        while name in self._taken:
            count += 1
            name = f"{wished}_{count}"
        self._taken.add(name)
        return name


def _onnx_type(dtype: np.dtype[Any]) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(dtype))
