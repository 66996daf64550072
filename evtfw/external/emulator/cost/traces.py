"""What each layer makes of the same events, in floating point and in the arithmetic of a device."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.external.emulator.cost.model_file import load_onnx
from evtfw.external.emulator.fixed.layer_formats import LayerFormats
from evtfw.external.emulator.network import Layer, Network
from evtfw.external.emulator.reading.resolving import resolve
from evtfw.external.onnx_model import OnnxModel, SessionSettings


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What a layer, or an input of the network, made of all events.

    Args:
        layer: which; None for an input.
        name: of the layer or the input.
        formats: of the layer.
        exact: values in floating point [rows, *shape].
        rounded: the same values as the device has them.
        weight: the layer's weights, in floating point and rounded; None if it has none.
    """

    layer: Layer | None
    name: str
    formats: LayerFormats
    exact: NDArray[Any]
    rounded: NDArray[Any]
    weight: tuple[NDArray[np.float64], NDArray[np.float64]] | None


def trace(
    source: Path, format_: str, configuration: Path | None, inputs: Mapping[str, NDArray[Any]]
) -> Iterator[Trace]:
    """Yield what each input and layer makes of events, as far as the source has the same value.

    Layers that take in others, e.g. a normalisation, are compared behind those.

    Args:
        source: ONNX file of the network in floating point.
        format_: as for ``evtfw emulate convert``.
        configuration: hls4ml's.
        inputs: of the source [rows, *shape].

    Raises:
        ConfigurationError: if the network cannot be emulated in this format.
    """
    from evtfw.external.emulator.reading.host import split

    model = load_onnx(source)
    device = split(model).device
    resolved = resolve(device, format_, configuration, str(source))
    network, formats = resolved.network, resolved.formats
    wanted = [tensor.name for tensor in network.inputs] + [layer.output for layer in network.layers]
    exact = dict(inputs) | _run(_with_outputs(model, wanted), inputs)
    border = {tensor.name: exact[tensor.name].astype(tensor.dtype) for tensor in network.inputs}
    rounded = _rounded(network, formats, border)
    for tensor in network.inputs:
        values = border[tensor.name]
        yield Trace(None, tensor.name, formats[tensor.name], values, _quantise(formats[tensor.name], values), None)
    for layer in network.layers:
        if layer.output in exact:
            its = formats[layer.name]
            made = rounded[layer.output].reshape(exact[layer.output].shape)
            yield Trace(layer, layer.name, its, exact[layer.output], made, _weight(layer, its))


def _with_outputs(model: Any, names: Sequence[str]) -> Any:
    """Return a copy of a model with those tensors as outputs that it has."""
    from onnx import ModelProto, ValueInfoProto

    copy = ModelProto()
    copy.CopyFrom(model)
    made = {name for node in model.graph.node for name in node.output}
    there = {output.name for output in model.graph.output}
    copy.graph.output.extend(ValueInfoProto(name=name) for name in names if name in made - there)
    return copy


def _rounded(
    network: Network, formats: Mapping[str, LayerFormats], inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    from evtfw.external.emulator.fixed.writer import write

    outputs = tuple(dict.fromkeys(layer.output for layer in network.layers))
    return _run(write(dataclasses.replace(network, outputs=outputs), formats).model, inputs)


def _run(model: Any, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        model.ir_version = min(model.ir_version, 10)
        onnx.save(model, str(file))
        return OnnxModel(file, SessionSettings()).run(dict(inputs))


def _quantise(formats: LayerFormats, values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(formats.result.quantise(np.asarray(values, np.float64)), np.float64)


def _weight(layer: Layer, formats: LayerFormats) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    weight = getattr(layer, "weight", None)
    if weight is None:
        return None
    rounded = weight if formats.weight is None else formats.weight.quantise(weight)
    return weight, np.asarray(rounded, np.float64)
