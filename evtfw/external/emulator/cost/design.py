"""How a model is built on an FPGA: the choices that its designer has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.cost.fpgas import Fpga

Strategy: TypeAlias = Literal["latency", "resource", "da"]

_HLS4ML: Mapping[str, Strategy] = {"latency": "latency", "resource": "resource", "distributed_arithmetic": "da"}
CLOCK_UNCERTAINTY = 0.125
"""Part of the clock period that Vivado HLS keeps in reserve unless told otherwise (AMD UG902)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Design:
    """What hls4ml's configuration says.

    Args:
        fpga: what it runs on.
        strategy: ``latency`` bakes weights into the logic, ``resource`` keeps them in memories, ``da`` makes graphs of
            adders out of them (distributed arithmetic).
        reuse_factor: how often each multiplier serves a row; 1: all are there at the same time.
        clock_mhz: of the design.
        follows_card: whether what a layer's card says of strategy and reuse factor counts more.
    """

    fpga: Fpga
    strategy: Strategy = "latency"
    reuse_factor: int = 1
    clock_mhz: float = 200.0
    follows_card: bool = False

    def of_layer(self, layer: LayerCard) -> Design:
        """Return the choices for one layer."""
        if not self.follows_card:
            return self
        strategy = _HLS4ML.get(layer.strategy.lower(), self.strategy)
        return dataclasses.replace(self, strategy=strategy, reuse_factor=layer.reuse_factor or self.reuse_factor)

    @property
    def has_constants(self) -> bool:
        """Whether each weight has a multiplier, which then is made for it."""
        return self.strategy != "resource" and self.reuse_factor == 1

    def cycles_of_adders(self, adders: int) -> int:
        """Return how many cycles so many adders in a row take."""
        usable_ns = 1000 / self.clock_mhz * (1 - CLOCK_UNCERTAINTY)
        return math.ceil(adders * self.fpga.adder_ns / usable_ns - 1e-9)

    def nanoseconds(self, cycles: float) -> float:
        """Return the time of so many cycles."""
        return cycles * 1000 / self.clock_mhz
