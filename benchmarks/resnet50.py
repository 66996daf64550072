"""ResNet-50 with the head of the SONIC paper's top tagger (arXiv:1904.08986), with seeded weights, as an ONNX model.

He, Zhang, Ren, Sun, arXiv:1512.03385, with the stride in the 3x3 convolution ("v1.5"). No weights are trained: batch
normalisations carry the variance that the random weights lead to, so that activations stay in a range like a trained
network's. Smaller variants of the same graph serve tests.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

EXPANSION = 4
"""Channels that leave a block, for each that its 3x3 convolution has."""
OPSET = 18
IR_VERSION = 10


@dataclasses.dataclass(frozen=True, slots=True)
class ResNet:
    """What a residual network is made of; the defaults are ResNet-50's and the paper's head's.

    Args:
        side: pixels of the square image in each direction.
        stem: channels of the first convolution.
        widths: channels of the 3x3 convolutions, stage by stage.
        blocks: residual blocks, stage by stage.
        hidden: outputs of the head's first dense layer.
        classes: outputs of the softmax.
        seed: of all weights.
    """

    side: int = 224
    stem: int = 64
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    hidden: int = 1024
    classes: int = 2
    seed: int = 50


SMALL = ResNet(side=32, stem=8, widths=(8, 20), blocks=(1, 2), hidden=24)
"""The same kinds of layers and connections, in milliseconds."""


def resnet(shape: ResNet | None = None) -> onnx.ModelProto:
    """Return the network: `image`, float32 [n, side, side, 3], gives `probability`, float32 [n, classes]."""
    return _Builder(shape or ResNet()).model()


def images(number: int, *, side: int = 224, seed: int = 0) -> NDArray[np.float32]:
    """Return made-up images, float32 [number, side, side, 3]: sparse deposits around the middle."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(-1.2, 1.2, side)
    density = np.exp(-4 * (axis[:, None] ** 2 + axis**2))
    is_hit = rng.random((number, side, side)) < 0.3 * density
    energy = np.where(is_hit, rng.exponential(1, (number, side, side)), 0)
    scaled = 255 * energy / energy.sum((1, 2), keepdims=True)
    return np.repeat(scaled[..., None], 3, axis=-1).astype(np.float32)


class _Builder:
    def __init__(self, shape: ResNet) -> None:
        self._shape = shape
        self._rng = np.random.default_rng(shape.seed)
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        shape = self._shape
        x = self._node("Transpose", ["image"], "channels_first", perm=[0, 3, 1, 2])
        x = self._conv(x, "stem", 3, shape.stem, kernel=7, stride=2)
        x = self._node("Relu", [x], "stem_relu")
        x = self._node("MaxPool", [x], "stem_pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        channels = shape.stem
        for stage, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 0 else 1
                x = self._block(x, f"stage{stage}_block{block}", channels, width, stride)
                channels = width * EXPANSION
        x = self._node("GlobalAveragePool", [x], "pool5")
        x = self._node("Flatten", [x], "features")
        x = self._node("Relu", [self._dense(x, "hidden", channels, shape.hidden)], "hidden_relu")
        logits = self._dense(x, "logits", shape.hidden, shape.classes)
        self._node("Softmax", [logits], "probability", axis=-1)
        float32 = onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "resnet",
            [helper.make_tensor_value_info("image", float32, ["n", shape.side, shape.side, 3])],
            [helper.make_tensor_value_info("probability", float32, ["n", shape.classes])],
            self._initialisers,
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="evtfw")

    def _block(self, x: str, name: str, channels: int, width: int, stride: int) -> str:
        y = self._node("Relu", [self._conv(x, f"{name}_1", channels, width)], f"{name}_1_relu")
        y = self._node("Relu", [self._conv(y, f"{name}_2", width, width, kernel=3, stride=stride)], f"{name}_2_relu")
        # A block adds a fraction, so that the sum does not grow from block to block.
        y = self._conv(y, f"{name}_3", width, width * EXPANSION, gain=0.4)
        if stride != 1 or channels != width * EXPANSION:
            x = self._conv(x, f"{name}_shortcut", channels, width * EXPANSION, stride=stride)
        return self._node("Relu", [self._node("Add", [y, x], f"{name}_sum")], f"{name}_out")

    def _conv(
        self, x: str, name: str, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, gain: float = 1.0
    ) -> str:
        """Convolution and batch normalisation."""
        weight = self._weight(f"{name}_weight", (outputs, inputs, kernel, kernel))
        pads = [(kernel - 1) // 2] * 4
        strides, kernel_shape = [stride] * 2, [kernel] * 2
        y = self._node("Conv", [x, weight], f"{name}_conv", kernel_shape=kernel_shape, strides=strides, pads=pads)
        parameters = {
            "scale": gain * self._rng.uniform(0.6, 1.4, outputs),
            "shift": self._rng.normal(0, 0.2, outputs),
            "mean": self._rng.normal(0, 0.2, outputs),
            # He's weights double the mean square of what they take.
            "variance": 1.5 * self._rng.uniform(0.6, 1.4, outputs),
        }
        rest = [self._initialiser(f"{name}_{key}", value) for key, value in parameters.items()]
        return self._node("BatchNormalization", [y, *rest], f"{name}_norm", epsilon=1e-5)

    def _dense(self, x: str, name: str, inputs: int, outputs: int) -> str:
        weight = self._weight(f"{name}_weight", (outputs, inputs))
        bias = self._initialiser(f"{name}_bias", self._rng.normal(0, 0.1, outputs))
        return self._node("Gemm", [x, weight, bias], name, transB=1)

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        return self._initialiser(name, spread * self._rng.standard_normal(shape, dtype=np.float32))

    def _initialiser(self, name: str, values: NDArray[np.floating]) -> str:
        self._initialisers.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output
