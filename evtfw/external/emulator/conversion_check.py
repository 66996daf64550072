"""A converted model beside its source: how far the device's answers are from those of floating point."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError, ExternalError
from evtfw.external.onnx_model import OnnxModel, SessionSettings

_BLOCK: Final = 64
_FOREIGN: Final = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc"})


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """Of one output, over all rows and values.

    Args:
        output: its name.
        largest, mean: absolute difference.
        range: of the source's values, largest minus least.
        same_class_fraction: of rows whose largest value is at the same place; NaN for single values.
        rows: that were compared: those for which all of the source's values are finite.
    """

    output: str
    largest: float
    mean: float
    range: float
    same_class_fraction: float
    rows: int


def compare(
    source: Path | Any, converted: Path, rows: int, calibration: Mapping[str, NDArray[Any]] | None = None
) -> list[Difference]:
    """Run source and converted model on the same rows.

    Args:
        source: ONNX file or `onnx.ModelProto` that it was converted from.
        converted: what `convert` wrote.
        rows: how many.
        calibration: rows to take, those at the beginning; None: normally distributed ones, seeded.

    Raises:
        ConfigurationError: the source is none that onnxruntime runs, or the rows do not fit.
    """
    model = OnnxModel(converted, SessionSettings())
    given = _rows(model, rows, calibration)
    wished = _outputs(_source(source), given)
    is_finite = np.all([np.isfinite(values).reshape(len(values), -1).all(1) for values in wished.values()], axis=0)
    if not is_finite.any():
        raise ConfigurationError(
            "the source's answers are not finite for any of the rows; give it rows that it is made for (--calibration)"
        )
    wished = {name: values[is_finite] for name, values in wished.items()}
    found = _outputs(model, {name: values[is_finite] for name, values in given.items()})
    return [_difference(name, wished[name], found[name]) for name in found if name in wished]


def _source(source: Path | Any) -> OnnxModel:
    """Load the source; a copy of it, as the card beside it need not be one of ours."""
    from evtfw.external.emulator.reading.onnx_graph import load_proto

    if isinstance(source, Path) and source.suffix != ".onnx":
        raise ConfigurationError(f"{source} cannot be run here, so there is nothing to compare with; leave --check")
    proto = load_proto(source)
    if any(node.op_type in _FOREIGN for node in proto.graph.node):
        raise ConfigurationError(
            "the source has nodes of QONNX, which onnxruntime does not run; compare with qonnx' own executor instead"
        )
    with tempfile.TemporaryDirectory(prefix="evtfw-check-") as folder:
        file = Path(folder) / "source.onnx"
        file.write_bytes(proto.SerializeToString())
        try:
            return OnnxModel(file, SessionSettings())
        except ExternalError as error:
            raise ConfigurationError(
                f"the source cannot be run, so there is nothing to compare with: {error}"
            ) from error


def _rows(model: OnnxModel, rows: int, calibration: Mapping[str, NDArray[Any]] | None) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(1)
    given = {}
    for spec in model.description.inputs:
        shape = tuple(length or 1 for length in spec.shape[1:])
        if calibration is None:
            given[spec.name] = random.normal(size=(rows, *shape)).astype(spec.dtype)
            continue
        if spec.name not in calibration or calibration[spec.name].shape[1:] != shape:
            there = {name: values.shape for name, values in calibration.items()}
            raise ConfigurationError(f"input '{spec.name}' takes rows of shape {shape}; the calibration has {there}")
        given[spec.name] = np.ascontiguousarray(calibration[spec.name][:rows], dtype=spec.dtype)
    return given


def _outputs(model: OnnxModel, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Run a model in blocks, as rows of images are large; one row at a time if its batch is fixed."""
    rows = len(next(iter(given.values())))
    block = 1 if model.description.inputs[0].shape[0] is not None else _BLOCK
    parts = [
        model.run({name: values[start : start + block] for name, values in given.items()})
        for start in range(0, rows, block)
    ]
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}


def _difference(name: str, wished: NDArray[np.float64], found: NDArray[np.float64]) -> Difference:
    wished, found = wished.reshape(len(wished), -1), found.reshape(len(found), -1)
    apart = np.abs(wished - found)
    same = float(np.mean(wished.argmax(1) == found.argmax(1))) if wished.shape[1] > 1 else np.nan
    return Difference(name, float(apart.max()), float(apart.mean()), float(np.ptp(wished)), same, len(wished))
