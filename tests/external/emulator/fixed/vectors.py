"""Networks of dense layers and activations, with seeded weights and formats written as hls4ml does."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnxruntime

from evtfw.external.emulator.fixed.layer_formats import LayerFormats, SoftmaxFormats
from evtfw.external.emulator.fixed.writer import write
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Activation, Dense, Network, Softmax, Tensor

SOFTMAX_TABLE = FixedPoint.parse("fixed<18,8,RND,SAT>")  # hls4ml's default


class VectorNetwork:
    """Layers one after another or side by side; each method names the tensor it reads and returns the one it makes."""

    def __init__(self, inputs: int, input_format: str, *, seed: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self._layers: list[Any] = []
        self._shapes = {"x": (inputs,)}
        self.formats = {"x": LayerFormats(result=FixedPoint.parse(input_format))}

    def dense(self, name: str, source: str, outputs: int, **formats: Any) -> str:
        inputs = self._shapes[source][0]
        weight = self._rng.normal(size=(inputs, outputs)) * 1.4 / np.sqrt(inputs)
        bias = self._rng.normal(size=outputs) * 0.3
        return self._add(Dense, name, source, (outputs,), parsed(formats), weight=weight, bias=bias)

    def activation(self, name: str, source: str, function: str, *, alpha: float = 0.0, **formats: Any) -> str:
        shape = self._shapes[source]
        return self._add(Activation, name, source, shape, parsed(formats), function=function, alpha=alpha)

    def softmax(self, name: str, source: str, strategy: str, result: str, *, table: str = "", **formats: Any) -> str:
        tables = dict.fromkeys(("exponential", "inverse", "accumulator", "inverse_input"), SOFTMAX_TABLE)
        sizes = {"exponential_size": 1024, "inverse_size": 1024}
        softmax = SoftmaxFormats(strategy=strategy, **{**tables, **sizes, **parsed(formats)})
        given = {"result": FixedPoint.parse(result), "softmax": softmax}
        if table:
            given["table"] = FixedPoint.parse(table)
        return self._add(Softmax, name, source, self._shapes[source], given)

    def network(self, *outputs: str, dtype: str = "float64") -> Network:
        tensor = Tensor("x", self._shapes["x"], np.dtype(dtype))
        return Network("vectors", (tensor,), outputs, tuple(self._layers))

    def _add(self, kind: Any, name: str, source: str, shape: Any, formats: dict[str, Any], **more: Any) -> str:
        output = f"{name}_out"
        self._layers.append(kind(name=name, inputs=(source,), output=output, shape=shape, **more))
        self._shapes[output] = shape
        self.formats[name] = LayerFormats(**formats)
        return output


def parsed(formats: dict[str, Any]) -> dict[str, Any]:
    return {name: FixedPoint.parse(given) if isinstance(given, str) else given for name, given in formats.items()}


def mlp(made: VectorNetwork, prefix: str, sizes: tuple[int, ...], *, relu: str | None = None, **formats: Any) -> str:
    """Add dense layers with rectifiers between them; ``formats`` are those of each dense layer."""
    tensor = "x"
    for number, size in enumerate(sizes):
        tensor = made.dense(f"{prefix}{number}", tensor, size, **formats)
        if number + 1 < len(sizes):
            tensor = made.activation(f"{prefix}{number}_relu", tensor, "relu", result=relu or formats["result"])
    return tensor


def emulator(network: Network, formats: dict[str, LayerFormats]) -> Any:
    """The written network as a function of rows that returns the outputs by name."""
    session = session_of(network, formats)
    names = [output.name for output in session.get_outputs()]
    tensor = network.inputs[0]

    def run(rows: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(None, {tensor.name: rows.astype(tensor.dtype)}), strict=True))

    return run


def session_of(network: Network, formats: dict[str, LayerFormats]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(write(network, formats).model.SerializeToString(), options)


def adversarial_rows(count: int, inputs: int, target: FixedPoint, *, seed: int = 2) -> np.ndarray:
    """Rows from ordinary to overflowing: normal, wide, ties and their neighbours, the ends, huge numbers."""
    rng = np.random.default_rng(seed)
    each = -(-count // 6)
    shape = (each, inputs)
    ties = rng.integers(-(2**target.width), 2**target.width, shape) * target.step / 2
    ends = rng.choice([target.lowest, target.highest, 0.0, target.step, -target.step], shape)
    parts = [
        rng.normal(size=shape),
        rng.normal(size=shape) * 10,
        ties,
        np.nextafter(ties, rng.choice([-np.inf, np.inf], shape)),
        ends,
        rng.normal(size=shape) * np.exp2(rng.uniform(-20, 60, shape)),
    ]
    return np.concatenate(parts)[:count]


def with_dtype(network: Network, dtype: str) -> Network:
    inputs = tuple(dataclasses.replace(tensor, dtype=np.dtype(dtype)) for tensor in network.inputs)
    return dataclasses.replace(network, inputs=inputs)
