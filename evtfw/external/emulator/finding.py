"""Which file ``fpga:NAME`` means, and what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import evtfw.data
from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import ModelCard
from evtfw.external.onnx_model import find_model


def find_emulated(name: str) -> Path:
    """Return the file that ``fpga:NAME`` means: a path, or the shipped model NAME_fpga or NAME.

    Raises:
        ConfigurationError: there is no such file; the message has the nearest names.
    """
    if not Path(name).expanduser().is_file() and Path(name).name == name and not Path(name).suffix:
        try:
            return evtfw.data.path(f"{name}_fpga.onnx")
        except FileNotFoundError:
            pass
    return find_model(name, scheme="fpga")


def read_card(path: Path) -> ModelCard:
    """Return the card of a model for `fpga:`.

    Raises:
        ConfigurationError: it is no emulated model; the message says how to make one.
    """
    try:
        is_plain = "arithmetic" not in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        is_plain = False
    if is_plain:
        raise ConfigurationError(
            f"{path} computes in floating point: its card says nothing of an FPGA's arithmetic; 'fpga:' runs what "
            f"'evtfw emulate convert {path} --format … --out …' makes of it, 'cpu:{path}' the model itself"
        )
    return ModelCard.read(path)
