"""The ``.keras`` file of an HGQ2 model: its layers, their variables and learned bit widths, read without Keras.

The layout is that of Keras 3 (``keras/src/saving/saving_lib.py``): ``config.json`` and ``model.weights.h5`` in a zip,
variables numbered in the order in which they were made, trainable ones first.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.formats.fixed_point import FixedPointGrid
from evtfw.external.emulator.network import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class KerasLayer:
    """A layer of a Keras model.

    Args:
        name: of the layer.
        kind: its class.
        settings: its configuration.
        inputs: names of the layers before it.
        weights: where its variables are in the file.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]
    weights: Any

    def variable(self, number: int) -> Floats:
        """Return one of its variables."""
        return np.asarray(self.weights["vars"][str(number)][()], np.float64)

    def grid(self, key: str, settings: Mapping[str, Any]) -> FixedPointGrid:
        """Return the formats of a quantiser.

        Args:
            key: of the quantiser, with its number if the layer has several, e.g. ``iq``, ``_iqs/quantizer_1``.
            settings: its configuration.
        """
        group = self.weights
        for part in key.split("/"):
            group = group[part]
        return _grid(group["quantizer"]["vars"], settings["config"])


@dataclasses.dataclass(frozen=True, eq=False)
class KerasModel:
    """A model.

    Args:
        name: of the model.
        layers: in an order in which they can be computed.
        outputs: names of layers.
    """

    name: str
    layers: tuple[KerasLayer, ...]
    outputs: tuple[str, ...]


def load(file: Path) -> KerasModel:
    """Read a file.

    Raises:
        ConfigurationError: it is none of Keras 3, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigurationError(
            f"{file}: Keras' files are read by h5py, which is not installed; pip install h5py"
        ) from error
    try:
        with zipfile.ZipFile(file) as archive:
            content = json.loads(archive.read("config.json"))
            weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")
        if content["class_name"] not in ("Functional", "Sequential"):
            raise ConfigurationError(
                f"{file} holds a model of class {content['class_name']}; Sequential and Functional ones can be read"
            )
        layers = tuple(_layers(content["config"]["layers"], weights["layers"]))
        outputs = _names(content["config"].get("output_layers")) or (layers[-1].name,)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{file} is no model that Keras 3 saved: {error}") from error
    return KerasModel(str(content["config"].get("name", file.stem)), layers, outputs)


def _layers(described: list[Mapping[str, Any]], weights: Any) -> Iterator[KerasLayer]:
    counts: Counter[str] = Counter()
    before = ""
    for entry in described:
        kind, settings = str(entry["class_name"]), entry["config"]
        key = _snake_case(kind)
        number = counts[key]
        counts[key] += 1
        found = entry.get("inbound_nodes")
        inputs = tuple(_histories(found)) if found is not None else (before,) if before else ()
        group = weights.get(f"{key}_{number}" if number else key)
        before = str(settings["name"])
        yield KerasLayer(before, kind, settings, inputs, group)


def _snake_case(name: str) -> str:
    """Return a class's name as Keras writes it (``keras/src/utils/naming.py``)."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def _histories(content: Any) -> Iterator[str]:
    """Yield the layers that tensors in a layer's arguments come from."""
    if isinstance(content, Mapping):
        if "keras_history" in content:
            yield str(content["keras_history"][0])
        else:
            for value in content.values():
                yield from _histories(value)
    elif isinstance(content, list):
        for value in content:
            yield from _histories(value)


def _names(outputs: Any) -> tuple[str, ...]:
    """Return the names in ``output_layers``: of one layer, or a list of such."""
    if not outputs:
        return ()
    return (str(outputs[0]),) if isinstance(outputs[0], str) else tuple(str(output[0]) for output in outputs)


def _grid(variables: Any, settings: Mapping[str, Any]) -> FixedPointGrid:
    """Return the formats of a quantiser (``hgq/quantizer/internal/fixed_point_quantizer.py``).

    Of k (sign), i (integer bits) and f (fraction) or b (all but the sign), k is the only one of whole numbers; under
    WRAP i is not trained and so comes after it.
    """
    found = [np.asarray(variables[str(number)][()]) for number in range(len(variables))]
    sign = next(value for value in found if value.dtype == np.uint8)
    others = [np.round(value).astype(np.int64) for value in found if value.dtype != np.uint8][:2]
    is_wrapping = settings["overflow_mode"] == "WRAP"
    if settings["q_type"] == "kbi":
        bits, integer = others
        fraction = bits - integer
    elif settings["q_type"] == "kif":
        fraction, integer = others if is_wrapping else others[::-1]
    else:
        raise ConfigurationError(f"a quantiser of type '{settings['q_type']}' cannot be read; kif and kbi can")
    for option in ("scaler", "affine"):
        if settings.get(option) is not None:
            raise ConfigurationError(f"a quantiser with {option} is no fixed-point format; leave it out")
    return _without_signs_only(sign.astype(np.bool_), integer, fraction, settings)


def _without_signs_only(
    sign: NDArray[np.bool_], integer: NDArray[np.int64], fraction: NDArray[np.int64], settings: Mapping[str, Any]
) -> FixedPointGrid:
    """Make a grid; under SAT_SYM a sign without bits leaves 0 only, as for HGQ2 (ap_fixed would leave one value)."""
    overflow = {"SYM": "SAT_SYM"}.get(settings["overflow_mode"], settings["overflow_mode"])
    if overflow == "SAT_SYM":
        sign = sign & (integer + fraction > 0)
    return FixedPointGrid(sign, integer, fraction, settings["round_mode"], overflow)
