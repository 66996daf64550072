"""The range of each tensor, from rows that run through the float network."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.formats.fixed8 import HIGHEST_EXPONENT, LOWEST_EXPONENT, Scale, smallest_exponents
from evtfw.external.emulator.quantised.graph import Graph
from evtfw.external.onnx_model import OnnxModel, SessionSettings

if TYPE_CHECKING:
    from onnx import ModelProto

BATCH_ROWS: Final = 8
"""Rows that run at a time: every tensor of them is in memory."""
_UNKNOWN: Final = Scale(-7, is_signed=False)
"""Of a tensor that was 0 in all rows."""


def calibrate(
    graph: Graph, tensors: Collection[str], rows: Mapping[str, NDArray[Any]], coverage_percent: float
) -> dict[str, Scale]:
    """Return the scale of each tensor: the smallest power of two with which 8 bits hold what the rows lead to.

    Args:
        graph: in float.
        tensors: of type float32; inputs of the model may be among them.
        rows: for each input of the model, [rows, ...].
        coverage_percent: how many of a tensor's values its range must hold. A tensor without negative values gets a
            scale without sign.

    Raises:
        ConfigurationError: rows do not fit the inputs.
    """
    _check(graph, rows)
    histograms = {tensor: _Histogram() for tensor in tensors}
    for values in _run(graph, tensors, rows):
        for tensor, histogram in histograms.items():
            ends = _ends(tensor, values[tensor])
            histogram.fill(values[tensor] if coverage_percent < 100 else ends)
    return {tensor: histogram.scale(coverage_percent) for tensor, histogram in histograms.items()}


class _Histogram:
    """Counts values by the exponent of the step that they need: all there is to know for scales of powers of two."""

    def __init__(self) -> None:
        self._positive = np.zeros(HIGHEST_EXPONENT - LOWEST_EXPONENT + 1, np.int64)
        self._negative = self._positive.copy()
        self._signed_positive = self._positive.copy()

    def fill(self, values: NDArray[Any]) -> None:
        """Count values."""
        positive, negative = values[values > 0], -values[values < 0]
        self._positive += _counts(positive, 255)
        self._signed_positive += _counts(positive, 127)
        self._negative += _counts(negative, 128)

    def scale(self, coverage_percent: float) -> Scale:
        """Return the smallest scale; zeros do not count."""
        is_signed = bool(self._negative.any())
        counts = self._signed_positive + self._negative if is_signed else self._positive
        if not counts.any():
            return _UNKNOWN
        needed = math.ceil(counts.sum() * coverage_percent / 100)
        return Scale(LOWEST_EXPONENT + int(np.searchsorted(np.cumsum(counts), needed)), is_signed)


def _ends(tensor: str, values: NDArray[Any]) -> NDArray[Any]:
    ends = np.array([values.min(initial=0), values.max(initial=0)])
    if not np.isfinite(ends).all():
        raise ConfigurationError(
            f"tensor '{tensor}' becomes infinite or NaN in the float model with the calibration's rows"
        )
    return ends


def _counts(magnitudes: NDArray[Any], steps: int) -> NDArray[np.int64]:
    exponents = np.clip(smallest_exponents(magnitudes, steps), LOWEST_EXPONENT, HIGHEST_EXPONENT)
    return np.bincount(exponents - LOWEST_EXPONENT, minlength=HIGHEST_EXPONENT - LOWEST_EXPONENT + 1)


def _check(graph: Graph, rows: Mapping[str, NDArray[Any]]) -> None:
    problems = [f"calibration has no rows of input '{name}'" for name in graph.inputs if name not in rows]
    unknown = [name for name in rows if name not in graph.inputs]
    problems += [
        f"calibration has rows of '{name}', but no input is so named{nearest(name, graph.inputs)}" for name in unknown
    ]
    lengths = {name: len(values) for name, values in rows.items()}
    if len(set(lengths.values())) > 1:
        problems.append(f"calibration has different numbers of rows: {lengths}")
    if not all(lengths.values()):
        problems.append("calibration has no rows; give some hundred, like those that the model will see")
    problems += [
        f"calibration rows of '{name}' have values that are no numbers (NaN or infinite)"
        for name, values in rows.items()
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all()
    ]
    if problems:
        raise ConfigurationError(problems)


def _run(
    graph: Graph, tensors: Collection[str], rows: Mapping[str, NDArray[Any]]
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Yield the values of tensors, batch by batch."""
    import onnx

    model: ModelProto = graph.model()
    for name in tensors:
        if name not in (*graph.inputs, *graph.outputs):
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    with tempfile.TemporaryDirectory(prefix="evtfw_calibration_") as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(model, file)
        runner = OnnxModel(file, SessionSettings())
        number = len(next(iter(rows.values())))
        fixed_rows = next((n for spec in runner.description.inputs for n in spec.shape[:1] if n), None)
        if fixed_rows and number < fixed_rows:
            problem = f"calibration has {number} rows, but the model takes batches of {fixed_rows}; give more"
            raise ConfigurationError(problem)
        batch_rows = fixed_rows or BATCH_ROWS
        # A batch of fixed length cannot be filled with the rows that are left over.
        for first in range(0, number - number % batch_rows if fixed_rows else number, batch_rows):
            batch = {name: values[first : first + batch_rows] for name, values in rows.items()}
            yield {**batch, **runner.run(batch)}
