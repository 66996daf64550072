"""A network as the emulator sees it: layers between named tensors, free of any file format.

Readers make it from ONNX, QONNX, HGQ2; writers turn it into an ONNX graph in the arithmetic of the device. Tensors
are laid out as in ONNX, channels first; shapes are those of one row, without the batch axis.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid

Floats: TypeAlias = NDArray[np.float64]
Shape: TypeAlias = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One operation.

    Args:
        name: unique within the network; that of the node it was read from.
        inputs: names of the tensors it takes, in order; constants are not among them.
        output: name of the tensor it makes.
        shape: of one row of the output.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    shape: Shape

    @property
    def kind(self) -> str:
        """What it is, in a word; see `evtfw.external.emulator.card.LayerCard`."""
        return type(self).__name__.lower()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Layer):
    """Matrix product along the last axis: ``x @ weight + bias``.

    Args:
        weight: [inputs, outputs].
        bias: [outputs], or None.
    """

    weight: Floats
    bias: Floats | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Layer):
    """Convolution over one or two axes, channels first.

    Args:
        weight: [outputs, inputs / groups, *kernel].
        bias: [outputs], or None.
        strides: for each axis of the kernel.
        pads: before each axis, then after each axis, as in ONNX.
        dilations: for each axis of the kernel.
        groups: 1; depthwise: the number of input channels.
    """

    weight: Floats
    bias: Floats | None = None
    strides: Shape
    pads: Shape
    dilations: Shape
    groups: int = 1

    @property
    def kind(self) -> str:
        """``conv1d``, ``conv2d``, ``depthwise1d`` or ``depthwise2d``."""
        return f"{'depthwise' if self.groups > 1 else 'conv'}{self.weight.ndim - 2}d"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scale(Layer):
    """``x * scale + shift`` for each channel: a batch normalisation that no layer before it could take in.

    Args:
        scale, shift: [channels]; axis 0 of a row is the channel's.
    """

    scale: Floats
    shift: Floats


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Layer):
    """A function of each value.

    Args:
        function: which.
        alpha: slope below 0 of ``leaky_relu``, scale of ``elu``, upper bound of ``clipped_relu``.
    """

    function: Literal["relu", "leaky_relu", "clipped_relu", "elu", "sigmoid", "tanh", "linear"]
    alpha: float = 0.0

    @property
    def kind(self) -> str:
        """The function's name."""
        return self.function


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Layer):
    """Exponentials over their sum, along the last axis."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Layer):
    """Maximum or mean over windows; a global pool has windows as large as its input.

    Args:
        function: which.
        window, strides: for each axis after the channel's.
        pads: before each such axis, then after each.
        counts_padding: whether padded zeros count in a mean.
    """

    function: Literal["max", "average"]
    window: Shape
    strides: Shape
    pads: Shape
    counts_padding: bool = False

    @property
    def kind(self) -> str:
        """``max_pool`` or ``average_pool``."""
        return f"{self.function}_pool"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Merge(Layer):
    """Several tensors become one.

    Args:
        operation: which.
        axis: of ``concatenate``, in a row: 0 is the channel.
    """

    operation: Literal["add", "subtract", "multiply", "concatenate"]
    axis: int = 0

    @property
    def kind(self) -> str:
        """The operation's name."""
        return self.operation


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Layer):
    """The same values in another shape; flattening included."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Transpose(Layer):
    """Axes in another order.

    Args:
        order: of a row's axes.
    """

    order: Shape


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class UpSample(Layer):
    """Each value repeated (nearest neighbour).

    Args:
        factors: for each axis after the channel's.
    """

    factors: Shape


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Quantise(Layer):
    """Rounding that the source asks for itself (QONNX, HGQ2), whatever a configuration says elsewhere.

    Args:
        format: of all values, or of each.
    """

    format: FixedPoint | FixedPointGrid


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """An input of the network.

    Args:
        name: in the source.
        shape: of one row.
        dtype: in the source, e.g. ``float32``.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """Layers in an order in which they can be computed.

    Args:
        name: of the network.
        inputs: what a row consists of.
        outputs: names of the tensors that are its result.
        layers: each takes inputs of the network or outputs of layers before it.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
