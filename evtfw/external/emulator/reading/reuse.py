"""Reuse factors and strategies of hls4ml: how often a multiplier is used for one row, and in which order."""

from __future__ import annotations

import bisect
import dataclasses
import math
from typing import TYPE_CHECKING

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.network import Conv, Dense

if TYPE_CHECKING:
    from evtfw.external.emulator.reading.hls4ml_config import Hls4mlConfiguration, LayerNames


@dataclasses.dataclass(frozen=True, slots=True)
class Implementation:
    """How a layer's multiplications are laid out on the device.

    Args:
        strategy: ``latency``, ``resource``, ``resource_unrolled`` or ``distributed_arithmetic``.
        reuse_factor: products that one multiplier computes for a row; what hls4ml makes of the one asked for.
    """

    strategy: str
    reuse_factor: int

    def summation_stride(self, layer: Dense | Conv) -> int:
        """Return the stride in which hls4ml adds products; see `LayerFormats`."""
        is_strided = self.strategy == "resource" and isinstance(layer, Dense)
        return min(self.reuse_factor, layer.weight.shape[0]) if is_strided else 1


def implementation_of(configuration: Hls4mlConfiguration, names: LayerNames, layer: Dense | Conv) -> Implementation:
    """Return a layer's strategy and reuse factor, adjusted as hls4ml does (``FPGABackend.set_closest_reuse_factor``).

    Raises:
        ConfigurationError: the reuse factor is no positive whole number.
    """
    asked = configuration.shared(names, "ReuseFactor", 1)
    strategy = str(configuration.shared(names, "Strategy", "latency")).replace(" ", "_").lower()
    strategy = {"da": "distributed_arithmetic", "resourceunrolled": "resource_unrolled"}.get(strategy, strategy)
    if not isinstance(asked, int) or asked < 1:
        raise ConfigurationError(
            f"{configuration.file}: ReuseFactor of '{names.names[0]}' is {asked!r}; it must be a whole number from 1 on"
        )
    if not strategy.startswith("resource"):
        return Implementation(strategy, asked)
    if isinstance(layer, Dense):
        inputs, outputs = layer.weight.shape
    else:
        inputs, outputs = math.prod(layer.weight.shape[1:]), layer.weight.shape[0]
    return Implementation(strategy, closest_reuse_factor(inputs, outputs, asked))


def closest_reuse_factor(inputs: int, outputs: int, asked: int) -> int:
    """Return the reuse factor next to the one asked for that suits a matrix; of two equally near the smaller."""
    valid = [factor for factor in _divisors(inputs * outputs) if _is_valid(inputs, outputs, factor)]
    place = bisect.bisect_left(valid, asked)
    if place == 0:
        return valid[0]
    if place == len(valid):
        return valid[-1]
    before, after = valid[place - 1], valid[place]
    return after if after - asked < asked - before else before


def _divisors(number: int) -> list[int]:
    small = [factor for factor in range(1, math.isqrt(number) + 1) if number % factor == 0]
    return sorted({*small, *(number // factor for factor in small)})


def _is_valid(inputs: int, outputs: int, factor: int) -> bool:
    multipliers = math.ceil(inputs * outputs / min(inputs, factor))
    return (multipliers % outputs == 0 or factor >= inputs) and (factor % inputs == 0 or factor < inputs)
