"""A network computed in float64 with numpy, layer by layer, to see whether it was read rightly."""

import itertools
import math

import numpy as np

from evtfw.external.emulator.network import (
    Activation,
    Conv,
    Dense,
    Merge,
    Pool,
    Quantise,
    Reshape,
    Scale,
    Softmax,
    Transpose,
    UpSample,
)


def compute(network, **rows):
    """Outputs by name, for rows by name of the input."""
    values = {tensor.name: np.asarray(rows[tensor.name], np.float64) for tensor in network.inputs}
    for layer in network.layers:
        made = KINDS[type(layer)](layer, *(values[name] for name in layer.inputs))
        assert made.shape[1:] == layer.shape, f"{layer.name}: {made.shape[1:]}, but it says {layer.shape}"
        values[layer.output] = made
    return {name: values[name] for name in network.outputs}


def dense(layer, x):
    return x @ layer.weight + (0 if layer.bias is None else layer.bias)


def windows(x, kernel, strides, pads, dilations, fill):
    """The values under each window, [rows, channels, *out, *kernel]."""
    n = len(kernel)
    ends = [(pads[i], pads[n + i]) for i in range(n)]
    x = np.pad(x, [(0, 0), (0, 0), *ends], constant_values=fill)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, 2 + n)))
    steps = (slice(None), slice(None), *(slice(None, None, s) for s in strides))
    return views[steps + tuple(slice(None, None, d) for d in dilations)]


def convolution(layer, x):
    n = layer.weight.ndim - 2
    views = windows(x, layer.weight.shape[2:], layer.strides, layer.pads, layer.dilations, 0.0)
    kernel = list(range(2 + n, 2 + 2 * n))
    if layer.groups == 1:
        made = np.tensordot(views, layer.weight, ([1, *kernel], [1, *range(2, 2 + n)]))
        made = np.moveaxis(made, -1, 1)
    else:
        weight = layer.weight[:, 0].reshape(x.shape[1], -1, *layer.weight.shape[2:])
        parts = [
            (views * weight[None, :, m].reshape(1, x.shape[1], *(1,) * n, *layer.weight.shape[2:])).sum(tuple(kernel))
            for m in range(weight.shape[1])
        ]
        made = np.stack(parts, 2).reshape(x.shape[0], -1, *views.shape[2 : 2 + n])
    return made if layer.bias is None else made + layer.bias.reshape(-1, *(1,) * n)


def pool(layer, x):
    n = len(layer.window)
    fill = -np.inf if layer.function == "max" else 0.0
    ones = (1,) * n
    axes = tuple(range(-n, 0))
    views = windows(x, layer.window, layer.strides, layer.pads, ones, fill)
    if layer.function == "max":
        return views.max(axes)
    if layer.counts_padding:
        return views.sum(axes) / math.prod(layer.window)
    counts = windows(np.ones_like(x), layer.window, layer.strides, layer.pads, ones, 0.0).sum(axes)
    return views.sum(axes) / counts


def activation(layer, x):
    with np.errstate(over="ignore"):
        return {
            "relu": lambda: np.maximum(x, 0),
            "leaky_relu": lambda: np.where(x < 0, layer.alpha * x, x),
            "clipped_relu": lambda: np.clip(x, 0, layer.alpha),
            "elu": lambda: np.where(x < 0, layer.alpha * np.expm1(np.minimum(x, 0)), x),
            "sigmoid": lambda: 1 / (1 + np.exp(-x)),
            "tanh": lambda: np.tanh(x),
            "linear": lambda: x,
        }[layer.function]()


def softmax(layer, x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def merge(layer, *xs):
    if layer.operation == "concatenate":
        return np.concatenate(xs, layer.axis + 1)
    return {"add": np.add, "subtract": np.subtract, "multiply": np.multiply}[layer.operation](*xs)


def scale(layer, x):
    shape = (-1, *(1,) * (x.ndim - 2))
    return x * layer.scale.reshape(shape) + layer.shift.reshape(shape)


def up_sample(layer, x):
    for axis, factor in zip(itertools.count(2), layer.factors, strict=False):
        x = np.repeat(x, factor, axis)
    return x


KINDS = {
    Activation: activation,
    Conv: convolution,
    Dense: dense,
    Merge: merge,
    Pool: pool,
    Quantise: lambda layer, x: layer.format.quantise(x),
    Reshape: lambda layer, x: x.reshape(len(x), *layer.shape),
    Scale: scale,
    Softmax: softmax,
    Transpose: lambda layer, x: x.transpose(0, *(axis + 1 for axis in layer.order)),
    UpSample: up_sample,
}
