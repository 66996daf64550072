"""Layers and formats in a line each, rows that provoke overflow and ties, and the comparison with hls4ml."""

import numpy as np

from evtfw.external.emulator.fixed.layer_formats import LayerFormats
from evtfw.external.emulator.fixed.writer import write
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Activation, Conv, Network, Pool, Tensor
from tests.external.emulator.fixed.golden_images import GoldenImageModel

FLOAT32 = np.dtype(np.float32)


def formats(**texts):
    """`LayerFormats` of texts."""
    return LayerFormats(**{name: FixedPoint.parse(text) for name, text in texts.items()})


def convolution(name, source, shape, kernel, *, channels, strides=None, pads=None, dilations=None, groups=1, seed=0):
    axes, generator = len(kernel), np.random.default_rng([seed, *map(ord, name)])
    return Conv(
        name=name, inputs=(source,), output=f"{name}_out", shape=shape,
        weight=generator.normal(0, 0.6, (shape[0], channels // groups, *kernel)), bias=generator.normal(0, 1, shape[0]),
        strides=strides or (1,) * axes, pads=pads or (0,) * 2 * axes, dilations=dilations or (1,) * axes, groups=groups,
    )  # fmt: skip


def relu(name, source, shape):
    return Activation(name=name, inputs=(source,), output=f"{name}_out", shape=shape, function="relu")


def pool(name, source, shape, function, window, **options):
    given = {"strides": window, "pads": (0,) * 2 * len(window)} | options
    return Pool(
        name=name, inputs=(source,), output=f"{name}_out", shape=shape, function=function, window=window, **given
    )


def network(shape, layers, outputs=None):
    return Network("golden", (Tensor("x", shape, FLOAT32),), outputs or (layers[-1].output,), tuple(layers))


def check_same(given, number_formats, rows, folder):
    """Compare both emulations of a network; the reference comes from g++."""
    expected = GoldenImageModel(given, number_formats, folder)(rows)
    found = run(write(given, number_formats).model, rows)
    assert all(np.unique(values).size > 8 for values in expected.values())  # or they would agree too easily
    assert {name: int((found[name] != expected[name]).sum()) for name in given.outputs} == dict.fromkeys(
        given.outputs, 0
    )


def random_rows(shape, count, *, seed):
    """Rows, float32: ordinary, far too large, on a coarse grid, of few values, and at the ends of common formats."""
    generator = np.random.default_rng(seed)
    kinds = [
        generator.normal(0, 2, (count // 5, *shape)),
        generator.normal(0, 40, (count // 5, *shape)),
        generator.integers(-(2**10), 2**10, (count // 5, *shape)) / 2**6,
        generator.choice([-8.0, -(2.0**-8), 0.0, 2.0**-9, 7.9375, 15.9375, -16.0, 31.5, -32.0], (count // 5, *shape)),
    ]
    ends = generator.choice([-16.0, 15.9921875], (count - 4 * (count // 5), *shape))
    return np.concatenate([*kinds, ends]).astype(np.float32)


def run(model, rows):
    """Outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: rows}), strict=True))
