"""Events to try a network on: arrays of its inputs from a file, or random numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.contract import TensorSpec

_SEED = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Events:
    """Rows for a network.

    Args:
        inputs: by name [rows, *shape].
        labels: one number or one row of numbers for each row, if there are any.
        origin: where they are from.
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None
    origin: str

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(next(iter(self.inputs.values())))


def read_events(specs: tuple[TensorSpec, ...], file: Path | None, rows: int, labels: str = "") -> Events:
    """Return events for a network.

    Args:
        specs: inputs of the network.
        file: ``.npz`` with an array of the name of each input, or ``.npy`` for the only input; None: normal random
            numbers of width 1, always the same.
        rows: how many to take at most.
        labels: name of the array with the labels, or of a file ``.npy`` with it; empty: none.

    Raises:
        ConfigurationError: if arrays are missing or do not fit.
    """
    if file is None:
        if labels:
            raise ConfigurationError(f"labels '{labels}' mean nothing for random numbers; give events by --data")
        rng = np.random.default_rng(_SEED)
        shapes = {spec.name: (rows, *(length or 1 for length in spec.shape[1:])) for spec in specs}
        normal = {spec.name: rng.standard_normal(shapes[spec.name]).astype(spec.dtype) for spec in specs}
        return Events(normal, None, "normal random numbers, seeded")
    arrays = _arrays(file)
    found = {spec.name: _fitting(_pick(arrays, spec, specs, labels, file), spec, file)[:rows] for spec in specs}
    if len({len(values) for values in found.values()}) > 1:
        raise ConfigurationError(f"{file}: inputs have different numbers of rows: {_lengths(found)}")
    return Events(found, _labels(arrays, labels, file, len(next(iter(found.values())))), str(file))


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(file, allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read as .npz or .npy: {error}") from error


def _pick(
    arrays: Mapping[str, NDArray[Any]], spec: TensorSpec, specs: tuple[TensorSpec, ...], labels: str, file: Path
) -> NDArray[Any]:
    if spec.name in arrays:
        return arrays[spec.name]
    others = [name for name in arrays if name != labels]
    if len(specs) == 1 and len(others) == 1:
        return arrays[others[0]]
    raise ConfigurationError(
        f"{file} has no array '{spec.name}', an input of the network{nearest(spec.name, others)}; it has "
        f"{', '.join(others)}"
    )


def _fitting(values: NDArray[Any], spec: TensorSpec, file: Path) -> NDArray[Any]:
    wanted = spec.shape[1:]
    if len(values.shape) != len(spec.shape) or any(
        w not in (None, n) for w, n in zip(wanted, values.shape[1:], strict=True)
    ):
        raise ConfigurationError(f"{file}: array for input {spec} has the shape {values.shape}")
    return values.astype(spec.dtype)


def _labels(arrays: Mapping[str, NDArray[Any]], labels: str, file: Path, rows: int) -> NDArray[Any] | None:
    if not labels:
        return None
    if labels in arrays:
        found = arrays[labels]
    elif labels.endswith((".npy", ".npz")):
        found = next(iter(_arrays(Path(labels)).values()))
    else:
        raise ConfigurationError(
            f"{file} has no array '{labels}' for the labels{nearest(labels, arrays)}; name one of "
            f"{', '.join(arrays)}, or a file .npy"
        )
    if len(found) < rows:
        raise ConfigurationError(f"there are {rows} rows in {file}, but only {len(found)} labels in '{labels}'")
    return found[:rows]


def _lengths(arrays: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {len(values)}" for name, values in arrays.items())
