"""One format for every value of a network."""

from __future__ import annotations

from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.reading.hls4ml_config import Hls4mlConfiguration


def configuration_of(format_: FixedPoint) -> Hls4mlConfiguration:
    """Return hls4ml's configuration with one precision for the whole model (``granularity="model"``).

    Tables have hls4ml's default precision.
    """
    return Hls4mlConfiguration({"Model": {"Precision": {"default": str(format_)}, "ReuseFactor": 1}})
