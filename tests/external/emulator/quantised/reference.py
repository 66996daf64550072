"""The arithmetic of fixed8 in numpy, written from its definition; it knows the float network and the scales alone."""

import numpy as np
from onnx import helper, numpy_helper

MEAN_OPERATORS = ("GlobalAveragePool", "AveragePool")


def scales_of(rewritten):
    """Read step and zero of each rounded tensor, and the steps of each layer's weights, from a rewritten model."""
    values = {t.name: numpy_helper.to_array(t) for t in rewritten.graph.initializer}
    tensors, weights = {}, {}
    for node in rewritten.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in values:
            tensors[node.input[0].removesuffix("_integers")] = (
                float(values[node.input[1]]),
                int(values[node.input[2]]),
            )
        elif node.op_type == "DequantizeLinear" and node.input[0].endswith("_weight_integers"):
            weights[node.input[0].removesuffix("_weight_integers")] = values[node.input[1]].astype(float)
    return tensors, weights


class Fixed8Reference:
    """Runs a float model (NCHW; batch normalisations behind convolutions) with 8-bit tensors and exact sums."""

    def __init__(self, model, rewritten):
        self._graph = model.graph
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._tensors, self._weights = scales_of(rewritten)

    def run(self, inputs):
        """Return all tensors by name, in float64."""
        self.values = {}
        for name, values in inputs.items():
            self.values[name] = self._stored(name, values.astype(np.float64))
        pending = None
        for node in self._graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Conv" and self._next_is_norm(node):
                pending = (node, attributes)
                continue
            if node.op_type == "BatchNormalization" and pending:
                result = self._layer(*pending, norm=(node, attributes))
                pending = None
            elif node.op_type in ("Conv", "Gemm"):
                result = self._layer(node, attributes)
            else:
                known = [self.values.get(name, self._constants.get(name)) for name in node.input]
                result = operators[node.op_type](known, attributes)
            self.values[node.output[0]] = self._stored(node.output[0], result)
        return self.values

    def _next_is_norm(self, node):
        return any(n.op_type == "BatchNormalization" and n.input[0] == node.output[0] for n in self._graph.node)

    def _stored(self, name, values):
        if name not in self._tensors:
            return values
        step, zero = self._tensors[name]
        return np.clip(np.rint(values / step), -zero, 255 - zero) * step

    def _layer(self, node, attributes, norm=None):
        weight = self._constants[node.input[1]]
        bias = self._constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        if node.op_type == "Gemm" and not attributes.get("transB", 0):
            weight = weight.T
        if norm:
            weight, bias = normalised(weight, bias, [self._constants[n] for n in norm[0].input[1:]], norm[1]["epsilon"])
        data = node.input[0]
        steps = np.broadcast_to(self._weights[node.name or norm_name(node)], len(weight))
        integers = np.clip(np.rint(weight / shaped(steps, weight.ndim)), -127, 127)
        sum_steps = steps * self._tensors[data][0]
        bias_integers = np.rint(bias / sum_steps)
        x = self.values[data] / self._tensors[data][0]
        if node.op_type == "Gemm":
            return (x @ integers.T + bias_integers) * sum_steps
        sums = convolve(x, integers, attributes) + shaped(bias_integers, 3)
        return sums * shaped(sum_steps, 3)


def norm_name(node):
    return node.output[0]


def shaped(values, rank):
    return np.asarray(values, float).reshape(-1, *[1] * (rank - 1))


def normalised(weight, bias, parameters, epsilon):
    """Fold a batch normalisation; rounded once, to float32."""
    scale, shift, mean, variance = (p.astype(np.float64) for p in parameters)
    factor = scale / np.sqrt(variance + epsilon)
    folded = (weight * shaped(factor, weight.ndim)).astype(np.float32)
    return folded, (bias * factor + (shift - mean * factor)).astype(np.float32)


def windows(x, kernel, strides, pads, fill):
    """[n, c, *positions, *kernel] of [n, c, h, w]."""
    x = np.pad(x, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])], constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1]]


def convolve(x, weight, attributes):
    """Sums in float64; exact for integers."""
    groups = attributes.get("group", 1)
    kernel, strides = weight.shape[2:], attributes.get("strides", [1, 1])
    parts = []
    for part, kernels in zip(np.split(x, groups, 1), np.split(weight, groups, 0), strict=True):
        if kernel == (1, 1):
            seen = part[:, :, :: strides[0], :: strides[1]]
            sums = np.tensordot(kernels[:, :, 0, 0], seen, (1, 1))
        else:
            seen = windows(part, kernel, strides, attributes.get("pads", [0] * 4), 0)
            sums = np.tensordot(kernels, seen, ((1, 2, 3), (1, 4, 5)))
        parts.append(np.moveaxis(sums, 0, 1))
    return np.concatenate(parts, 1)


def pool(kind, fill):
    def run(known, a):
        strides = a.get("strides", [1, 1])
        return kind(windows(known[0], a["kernel_shape"], strides, a.get("pads", [0] * 4), fill), axis=(4, 5))

    return run


def softmax(known, attributes):
    powers = np.exp(known[0] - known[0].max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def mean(x):
    """Quotient of two exact numbers, rounded once."""
    return x.sum((2, 3), keepdims=True) / (x.shape[2] * x.shape[3])


operators = {
    "Transpose": lambda known, a: known[0].transpose(a["perm"]),
    "Relu": lambda known, a: np.maximum(known[0], 0),
    "Clip": lambda known, a: np.clip(known[0], known[1], known[2]),
    "LeakyRelu": lambda known, a: np.where(known[0] < 0, known[0] * np.float32(a["alpha"]), known[0]),
    "Add": lambda known, a: known[0] + known[1],
    "Concat": lambda known, a: np.concatenate(known, a["axis"]),
    "MaxPool": pool(np.max, -np.inf),
    "AveragePool": pool(np.mean, 0),
    "GlobalAveragePool": lambda known, a: mean(known[0]),
    "Flatten": lambda known, a: known[0].reshape(len(known[0]), -1),
    "Softmax": softmax,
}
