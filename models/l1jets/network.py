"""The jet network of hls4ml's papers, 16-64-32-32-2, in floating point and in the arithmetic of a device."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from evtfw.external.emulator.formats.fixed_point import FixedPoint

SIZES = (16, 64, 32, 32, 2)
OPSET = 17


class JetNet(nn.Module):
    """Top or not, from sixteen standardised features.

    Input: float32 [n, 16]. Output of `forward`: logits, float32 [n, 2]; index 0 is top.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in itertools.pairwise(SIZES))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits of features."""
        for layer in self.dense[:-1]:
            values = torch.relu(layer(values))
        logits: torch.Tensor = self.dense[-1](values)
        return logits


@dataclass(frozen=True, slots=True)
class Formats:
    """Of a quantised `JetNet`, all rounded half to even and saturating.

    Attributes:
        features: of the inputs.
        weight, bias: of each dense layer.
        activation: of the output of each layer but the last, after its ReLU.
    """

    features: FixedPoint
    weight: tuple[FixedPoint, ...]
    bias: tuple[FixedPoint, ...]
    activation: tuple[FixedPoint, ...]


class QuantisedJetNet(nn.Module):
    """`JetNet` with inputs, weights, biases and activations in fixed point; sums and logits are exact.

    Gradients pass straight through the rounding, where it does not saturate (Bengio et al., arXiv:1308.3432).
    """

    def __init__(self, network: JetNet, formats: Formats) -> None:
        super().__init__()
        self.dense = network.dense
        self.formats = formats

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits of features."""
        values = quantise(values, self.formats.features)
        for number, (weight, bias) in enumerate(self.quantised()):
            values = nn.functional.linear(values, weight, bias)
            if number < len(self.formats.activation):
                values = quantise(torch.relu(values), self.formats.activation[number])
        return values

    def quantised(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of each layer, as the device has them."""
        formats = zip(self.dense, self.formats.weight, self.formats.bias, strict=True)
        return [(quantise(layer.weight, weight), quantise(layer.bias, bias)) for layer, weight, bias in formats]


def quantise(values: torch.Tensor, to: FixedPoint) -> torch.Tensor:
    """Round half to even and saturate (``RND_CONV``, ``SAT``); the gradient is 1, and 0 where it saturates."""
    step, low, high = grid(to)
    inside = values.clamp(low, high)
    return inside + (torch.round(inside / step) * step - inside).detach()


def grid(to: FixedPoint) -> tuple[float, float, float]:
    """Step, lowest and highest value of a format."""
    step = 2.0 ** (to.integer - to.width)
    span = 2.0 ** (to.integer - to.is_signed)
    return step, -span * to.is_signed, span - step


def fitted(largest: float, width: int, *, is_signed: bool) -> FixedPoint:
    """The format of a width whose highest value is just not below ``largest``, or a step below it.

    >>> fitted(0.9, 6, is_signed=True).integer, fitted(1.2, 6, is_signed=True).integer
    (1, 2)
    """
    integer = int(np.ceil(np.log2(max(largest, 2.0**-width)))) + is_signed
    return FixedPoint(width, integer, is_signed, "RND_CONV", "SAT")


def export(layers: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]], path: Path) -> None:
    """Write dense layers with ReLU between them and a softmax at the end as ONNX, with a free batch axis.

    Args:
        layers: weight [outputs, inputs] and bias [outputs] of each.
        path: the file to write; nodes are named ``dense_1``, ``relu_1``, …, ``softmax``.
    """
    nodes, constants, tensor = [], [], "features"
    for number, (weight, bias) in enumerate(layers, 1):
        name = f"dense_{number}"
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(weight.T), f"{name}_weight"))
        constants.append(onnx.numpy_helper.from_array(bias, f"{name}_bias"))
        nodes.append(onnx.helper.make_node("Gemm", [tensor, f"{name}_weight", f"{name}_bias"], [name], name))
        tensor = name
        if number < len(layers):
            nodes.append(onnx.helper.make_node("Relu", [name], [f"relu_{number}"], f"relu_{number}"))
            tensor = f"relu_{number}"
    nodes.append(onnx.helper.make_node("Softmax", [tensor], ["probability"], "softmax", axis=-1))
    graph = onnx.helper.make_graph(
        nodes,
        path.stem,
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", SIZES[0]])],
        [onnx.helper.make_tensor_value_info("probability", onnx.TensorProto.FLOAT, ["n", SIZES[-1]])],
        constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="evtfw")
    model.ir_version = 8  # of that opset's time, for old readers
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
