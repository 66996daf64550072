"""What the cost of a model depends on and its card does not hold: the values of its weights, the bytes of a row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import ModelCard
from evtfw.external.emulator.requirements import require_onnx

if TYPE_CHECKING:
    import onnx


@dataclasses.dataclass(frozen=True, slots=True)
class EmulatedModel:
    """A converted model.

    Args:
        card: its card.
        weights: quantised weights by name of the initialiser.
        input_bytes, output_bytes: of one row, as a service gets and sends it.
    """

    card: ModelCard
    weights: Mapping[str, NDArray[np.float64]]
    input_bytes: int
    output_bytes: int


def read_model(file: Path) -> EmulatedModel:
    """Read a converted model with its card.

    Raises:
        ConfigurationError: if it cannot be read, or is no converted model.
    """
    model = load_onnx(file)
    card = ModelCard.read(file)
    wanted = {layer.weights for layer in card.layers if layer.weights}
    weights = read_initialisers(model, wanted, file)
    missing = sorted(wanted - weights.keys())
    if missing:
        raise ConfigurationError(
            f"{file} has no initialiser {', '.join(missing)}, which its card {file.stem}.json names; convert it again"
        )
    constants = {initialiser.name for initialiser in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in constants]
    return EmulatedModel(card, weights, _row_bytes(inputs), _row_bytes(model.graph.output))


def load_onnx(file: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        ConfigurationError: if that is not possible.
    """
    require_onnx()
    import onnx

    try:
        return onnx.load(str(file))
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    except Exception as error:
        raise ConfigurationError(f"{file} is no ONNX model: {error}") from error


def read_initialisers(model: onnx.ModelProto, names: Iterable[str], file: Path) -> dict[str, NDArray[np.float64]]:
    """Return those initialisers that are there, by name."""
    from onnx import numpy_helper

    wanted = set(names)
    found = (initialiser for initialiser in model.graph.initializer if initialiser.name in wanted)
    return {i.name: np.asarray(numpy_helper.to_array(i, str(file.parent)), np.float64) for i in found}


def _row_bytes(tensors: Iterable[Any]) -> int:
    from onnx import helper

    size_bytes = 0
    for tensor in tensors:
        kind = tensor.type.tensor_type
        lengths = [axis.dim_value or 1 for axis in kind.shape.dim[1:]]
        size_bytes += math.prod(lengths) * np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
    return size_bytes
