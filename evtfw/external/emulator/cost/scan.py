"""How good a network is in different formats: deviation from floating point, accuracy, area under the curve."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.conversion import convert
from evtfw.external.emulator.cost.events import Events
from evtfw.external.emulator.cost.formats import bits_of
from evtfw.external.onnx_model import OnnxModel, SessionSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """How good a network is in a format.

    Args:
        format: that was tried; empty for floating point.
        bits: of a value.
        deviation_max, deviation_rms: of the first output from floating point.
        agreement: share of rows with the same decision as in floating point.
        accuracy: share of right decisions, if there are labels.
        auc: area under the curve of background rejection, mean over the classes, if there are labels.
    """

    format: str
    bits: int
    deviation_max: float
    deviation_rms: float
    agreement: float
    accuracy: float | None
    auc: float | None


def scan(source: Path, formats: Iterable[str], events: Events) -> Iterator[Quality]:
    """Yield the quality in floating point, then in each format.

    Args:
        source: ONNX file of the network in floating point.
        formats: as for ``evtfw emulate convert``.
        events: with or without labels.

    Raises:
        ConfigurationError: if the network has no emulation in one of the formats.
    """
    exact = _scores(OnnxModel(source, SessionSettings()).run(dict(events.inputs)))
    yield quality("", exact, exact, events.labels)
    with tempfile.TemporaryDirectory() as folder:
        for number, form in enumerate(formats):
            calibration: Mapping[str, NDArray[Any]] | None = events.inputs if form.startswith("fixed8") else None
            file = convert(source, format=form, out=Path(folder) / f"{number}.onnx", calibration=calibration)
            scores = _scores(OnnxModel(file, SessionSettings()).run(dict(events.inputs)))
            yield quality(form, scores, exact, events.labels)


def _scores(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    first = next(iter(outputs.values()))
    return np.asarray(first, np.float64).reshape(len(first), -1)


def quality(form: str, scores: NDArray[np.float64], exact: NDArray[np.float64], labels: NDArray[Any] | None) -> Quality:
    """Return how good scores are.

    Args:
        form: in which they were computed; empty: floating point.
        scores, exact: [rows, classes]; one column is a score of class 1, split at half the range of the labels.
        labels: class of each row, or one-hot [rows, classes].

    Raises:
        ConfigurationError: if labels are no classes of these scores.
    """
    error = scores - exact
    classes = None if labels is None else _classes(labels, scores.shape[1])
    return Quality(
        format=form,
        bits=bits_of(form) if form else 32,
        deviation_max=float(np.abs(error).max(initial=0.0)),
        deviation_rms=float(np.sqrt(np.mean(error**2))),
        agreement=float(np.mean(_decisions(scores) == _decisions(exact))),
        accuracy=None if classes is None else float(np.mean(_decisions(scores) == classes)),
        auc=None if classes is None else _mean_area(scores, classes),
    )


def _classes(labels: NDArray[Any], columns: int) -> NDArray[np.int64]:
    found = labels.reshape(len(labels), -1)
    classes = found.argmax(axis=1) if found.shape[1] > 1 else found[:, 0].astype(np.int64)
    most = max(2, columns)
    if len(classes) and (classes.min() < 0 or classes.max() >= most):
        raise ConfigurationError(
            f"labels go from {classes.min()} to {classes.max()}, but the network has {most} classes"
        )
    return np.asarray(classes, np.int64)


def _decisions(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    decided = scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0.5
    return np.asarray(decided, np.int64)


def _mean_area(scores: NDArray[np.float64], classes: NDArray[np.int64]) -> float | None:
    if scores.shape[1] == 1:
        return area(scores[:, 0], classes == 1)
    areas = [area(scores[:, number], classes == number) for number in range(scores.shape[1])]
    known = [one for one in areas if one is not None]
    return float(np.mean(known)) if known else None


def area(scores: NDArray[np.float64], is_signal: NDArray[np.bool_]) -> float | None:
    """Return the area under the receiver operating characteristic; None without signal or background.

    It is the probability that a signal scores above a background; equal scores count half (Mann and Whitney, 1947).

    >>> area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    signals, backgrounds = int(is_signal.sum()), int((~is_signal).sum())
    if not signals or not backgrounds:
        return None
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2
    excess = ranks[group][is_signal].sum() - signals * (signals + 1) / 2
    return float(excess / (signals * backgrounds))
