"""What one layer of a network costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from evtfw.external.emulator.cost import elementwise, multiplying
from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.energy import energy_pj
from evtfw.external.emulator.cost.figures import Figure
from evtfw.external.emulator.cost.shapes import Shape


@dataclasses.dataclass(frozen=True, slots=True)
class LayerCost:
    """What a layer costs.

    Args:
        name, kind: as in the card.
        input_bits, weight_bits, result_bits: of its values; ``weight_bits`` is 0 without weights.
        multiplications: by weights, for one row.
        non_zero: those by weights that are not 0.
        true_multiplications: those by weights that are no power of two either.
        figures: by name of the quantity.
    """

    name: str
    kind: str
    input_bits: int
    weight_bits: int
    result_bits: int
    multiplications: int
    non_zero: int
    true_multiplications: int
    figures: Mapping[str, Figure]


def layer_cost(shape: Shape, design: Design) -> LayerCost:
    """Return what a layer costs."""
    design = design.of_layer(shape.card)
    model = multiplying.figures if shape.constants else elementwise.figures
    figures = {**model(shape, design), "energy_pj": energy_pj(shape)}
    constants, positions = shape.constants, shape.positions
    return LayerCost(
        shape.card.name,
        shape.card.kind,
        shape.input_bits,
        shape.weight_bits,
        shape.result_bits,
        shape.card.multiplications,
        constants.non_zero * positions if constants else 0,
        (constants.non_zero - constants.shifts) * positions if constants else 0,
        figures,
    )
