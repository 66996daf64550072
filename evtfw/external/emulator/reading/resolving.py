"""From an ONNX model and the format that is asked for to a network and the formats of each of its layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.layer_formats import LayerFormats
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Network
from evtfw.external.emulator.reading import hls4ml_formats, native_formats
from evtfw.external.emulator.reading.hls4ml_config import Hls4mlConfiguration
from evtfw.external.emulator.reading.onnx_reader import read
from evtfw.external.emulator.reading.reuse import Implementation
from evtfw.external.emulator.reading.uniform import configuration_of

Configuration: TypeAlias = Path | str | Mapping[str, Any]
"""hls4ml's configuration (for trees: conifer's), as a file or a dictionary."""

NATIVE: Final = ("native", "qonnx", "hgq2")
"""Formats that mean what the source says itself."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedNetwork:
    """A network, and the format of everything in it.

    Args:
        network: as read.
        formats: by name of the layer or of the network's input.
        implementations: reuse factor and strategy by name of the layer, where a configuration of hls4ml says so.
        is_quantised: whether the source quantises by itself.
        notes: remarks for the card.
    """

    network: Network
    formats: Mapping[str, LayerFormats]
    implementations: Mapping[str, Implementation]
    is_quantised: bool
    notes: tuple[str, ...]


def resolve(model: Any, form: str, configuration: Configuration | None, file: str) -> ResolvedNetwork:
    """Read a model in a fixed-point format.

    Args:
        model: `onnx.ModelProto`, without what stays on the host.
        form: ``ap_fixed<…>``, ``hls4ml`` or one of `NATIVE`.
        configuration: hls4ml's, for ``hls4ml``.
        file: for messages.

    Raises:
        ConfigurationError: format, configuration and model do not go together.
    """
    return _natively(model, file) if form in NATIVE else _configured(model, form, configuration, file)


def _natively(model: Any, file: str) -> ResolvedNetwork:
    found = read(model, file=file)
    if not found.is_quantised:
        raise ConfigurationError(
            f"{file} has no quantisation of its own (no Quant nodes of QONNX); give a format for all values, "
            f"e.g. --format 'ap_fixed<16,6>', or hls4ml's configuration (--format hls4ml --config FILE)"
        )
    formats, notes = native_formats.resolve(found.network, found.weight_formats, found.bias_formats, file)
    return ResolvedNetwork(
        network=found.network,
        formats=formats,
        implementations={},
        is_quantised=True,
        notes=(*found.notes, *notes),
    )


def _configured(model: Any, form: str, configuration: Configuration | None, file: str) -> ResolvedNetwork:
    chosen = _configuration(form, configuration)
    is_hls4ml = form == "hls4ml"
    rule = (lambda sources: hls4ml_formats.folding_rule(chosen, sources)) if is_hls4ml else None
    found = read(model, rule, file=file)
    resolved = hls4ml_formats.resolve(found, chosen)
    return ResolvedNetwork(
        network=found.network,
        formats=resolved.formats,
        implementations=resolved.implementations if is_hls4ml else {},
        is_quantised=found.is_quantised,
        notes=(*found.notes, *resolved.notes),
    )


def _configuration(form: str, configuration: Configuration | None) -> Hls4mlConfiguration:
    if form != "hls4ml":
        if configuration is not None:
            raise ConfigurationError(
                f"format '{form}' is for all values, and a configuration is given too; choose format 'hls4ml' "
                f"to use it, or leave it out"
            )
        return configuration_of(FixedPoint.parse(form))
    if configuration is None:
        raise ConfigurationError("format 'hls4ml' needs hls4ml's configuration (--config FILE, or a dictionary)")
    return Hls4mlConfiguration.read(configuration)
