"""What a model costs, layer by layer and in all, and whether it fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import ModelCard
from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.energy import FLOAT32_PJ
from evtfw.external.emulator.cost.figures import QUANTITIES, RESOURCES, Figure, total
from evtfw.external.emulator.cost.layers import LayerCost, layer_cost
from evtfw.external.emulator.cost.model_file import EmulatedModel
from evtfw.external.emulator.cost.optimiser import AdderGraph, with_graphs
from evtfw.external.emulator.cost.roofline import Roofline
from evtfw.external.emulator.cost.shapes import shape_of
from evtfw.external.emulator.cost.trees import trees_cost

TIGHT = 0.8
"""Share of a resource above which a design is hard to place and route, whatever the sum says (AMD UG949)."""
_MOST_REUSE = 1 << 24


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCost:
    """What a model costs in a design.

    Args:
        card: of the model.
        design: on what and how it is built.
        layers: of the network, or one that stands for all trees.
        totals: by name of the quantity.
        roofline: its throughput beside the link's.
    """

    card: ModelCard
    design: Design
    layers: tuple[LayerCost, ...]
    totals: Mapping[str, Figure]
    roofline: Roofline

    @property
    def latency_ns(self) -> float:
        """Time from the first value in to the last one out."""
        return self.design.nanoseconds(self.totals["latency_cycles"].value)

    @property
    def float32_pj(self) -> float:
        """Energy of all multiplications and additions if they were in single precision."""
        return sum(layer.multiplications for layer in self.layers) * FLOAT32_PJ

    def shares(self) -> dict[str, float]:
        """Return which part of the FPGA it takes, by resource."""
        available = self.design.fpga.available()
        return {name: self.totals[name].value / available[name] for name in RESOURCES}

    @property
    def fits(self) -> bool:
        """Whether there is enough of everything."""
        return max(self.shares().values()) <= 1

    @property
    def is_tight(self) -> bool:
        """Whether it fits, but hardly."""
        return self.fits and max(self.shares().values()) > TIGHT


def model_cost(
    model: EmulatedModel,
    design: Design,
    link_gbit_s: float = 10.0,
    graphs: Mapping[str, AdderGraph] = MappingProxyType({}),
) -> ModelCost:
    """Return what a converted model costs.

    Args:
        model: which.
        design: on what and how it is built.
        link_gbit_s: bandwidth of the link to it.
        graphs: what the optimiser found, by layer; strategy ``da`` takes its figures.

    Raises:
        ConfigurationError: if its card has neither layers nor trees.
    """
    card = model.card
    is_streamed = any(layer.kind.startswith(("conv", "depthwise")) for layer in card.layers)
    layers = [
        layer_cost(shape_of(layer, card.format, model.weights.get(layer.weights), is_streamed=is_streamed), design)
        for layer in card.layers
    ]
    designs = [design.of_layer(layer) for layer in card.layers]
    layers = [
        with_graphs(layer, graphs.get(layer.name), its) if its.strategy == "da" else layer
        for layer, its in zip(layers, designs, strict=True)
    ]
    if card.trees is not None:
        layers.append(trees_cost(card.trees, design))
    if not layers:
        raise ConfigurationError(
            f"the card of {card.name} names no layers, so there is nothing to count; convert it again"
        )
    totals = _totals(layers, is_streamed=is_streamed)
    hertz = design.clock_mhz * 1e6
    roofline = Roofline(
        hertz / totals["interval_cycles"].value,
        sum(layer.multiplications for layer in layers),
        model.input_bytes,
        model.output_bytes,
        link_gbit_s,
        hertz * design.fpga.available()["dsp"],
    )
    return ModelCost(card, design, tuple(layers), totals, roofline)


def _totals(layers: list[LayerCost], *, is_streamed: bool) -> dict[str, Figure]:
    totals = {q.name: total(layer.figures[q.name] for layer in layers) for q in QUANTITIES}
    slowest = max((layer.figures["interval_cycles"] for layer in layers), key=lambda figure: figure.value)
    totals["interval_cycles"] = slowest
    if is_streamed:
        cycles = slowest.value + totals["latency_cycles"].value
        totals["latency_cycles"] = Figure(cycles, "fitted", "streaming")
    return totals


def least_reuse(model: EmulatedModel, design: Design) -> int | None:
    """Return the smallest power of two as a reuse factor with which a model fits, None if there is none."""
    reuse = 1
    while reuse <= _MOST_REUSE:
        strategy = "resource" if reuse > 1 else design.strategy
        if model_cost(
            model, dataclasses.replace(design, reuse_factor=reuse, strategy=strategy, follows_card=False)
        ).fits:
            return reuse
        reuse *= 2
    return None


def as_dict(cost: ModelCost) -> dict[str, Any]:
    """Return it all as values that JSON takes."""
    design, roofline = cost.design, cost.roofline
    return {
        "model": cost.card.name,
        "arithmetic": cost.card.arithmetic,
        "format": cost.card.format,
        "design": {**dataclasses.asdict(design), "fpga": design.fpga.model_dump()},
        "layers": [dataclasses.asdict(layer) for layer in cost.layers],
        "totals": {name: dataclasses.asdict(figure) for name, figure in cost.totals.items()},
        "latency_ns": cost.latency_ns,
        "float32_pj": cost.float32_pj,
        "shares": cost.shares(),
        "fits": cost.fits,
        "roofline": {
            **dataclasses.asdict(roofline),
            "link_per_s": roofline.link_per_s(),
            "attainable_per_s": roofline.attainable_per_s,
        },
    }
