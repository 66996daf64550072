"""The card of the floating-point network: what it expects, answers, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evtfw.modules import standardised
from models.toptag.card import sha256

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scaling:
    """How features become inputs, see `evtfw.modules.Standardise`.

    Attributes:
        mean, std: Of each feature, over the training jets.
        limit: In standard deviations.
    """

    mean: list[float]
    std: list[float]
    limit: float

    def __call__(self, features: Float32Array) -> Float32Array:
        """Inputs of the models, float32 [n, 16]."""
        return standardised(features, np.float32(self.mean), np.float32(self.std), self.limit)


def scaling_of(features: Float32Array, limit: float) -> Scaling:
    """Scale to a mean of 0 and a standard deviation of 1, in numbers short enough for a card."""
    mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    return Scaling([float(f"{x:.6g}") for x in mean], [float(f"{x:.6g}") for x in std], limit)


def scaling_of_card(card: Path) -> Scaling:
    """The scaling that a card tells."""
    return Scaling(**json.loads(card.read_text())["scaling"])


def write_card(
    model: Path,
    *,
    names: Sequence[str],
    scaling: Mapping[str, object],
    training: Mapping[str, object],
    held_out: Mapping[str, object],
) -> Path:
    """Write the card next to the model.

    Args:
        model: The ONNX file.
        names: Of the features.
        scaling: What `evtfw.modules.Standardise` needs to make inputs of features.
        training: Recipe, seed, data.
        held_out: Figures of merit and the files they were measured on.

    Returns:
        The card's path: the model's with the suffix `.json`.
    """
    card = {
        "name": model.stem,
        "title": "Top quark jets against QCD jets, from sixteen substructure features",
        "file": model.name,
        "sha256": sha256(model),
        "size_bytes": model.stat().st_size,
        "inputs": [{"name": "features", "dtype": "float32", "shape": [-1, len(names)], "columns": list(names)}],
        "outputs": [{"name": "probability", "dtype": "float32", "shape": [-1, 2], "classes": ["top", "qcd"]}],
        "scaling": dict(scaling),
        "training": dict(training),
        "held_out": dict(held_out),
    }
    path = model.with_suffix(".json")
    path.write_text(json.dumps(card, indent=2) + "\n")
    return path
