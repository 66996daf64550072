"""What an ensemble of trees costs: all thresholds are compared at the same time, then scores are added."""

from __future__ import annotations

import math

from evtfw.external.emulator.card import TreesCard
from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.energy import trees_energy_pj
from evtfw.external.emulator.cost.figures import Figure
from evtfw.external.emulator.cost.formats import bits_of
from evtfw.external.emulator.cost.layers import LayerCost
from evtfw.external.emulator.cost.multiplying import LUTS_PER_ADDER_BIT, registers

LUTS_PER_THRESHOLD_BIT = 0.28
LUTS_PER_LEAF_BIT = 0.22


def trees_cost(trees: TreesCard, design: Design) -> LayerCost:
    """Return what an ensemble costs."""
    del design
    threshold_bits, score_bits = bits_of(trees.threshold_format), bits_of(trees.score_format)
    per_class = max(1, trees.trees // max(1, trees.classes))
    cycles = 1 + trees.depth + math.ceil(math.log2(per_class))
    select = LUTS_PER_THRESHOLD_BIT * threshold_bits * trees.splits + LUTS_PER_LEAF_BIT * score_bits * trees.leaves
    luts = select + LUTS_PER_ADDER_BIT * score_bits * max(0, trees.trees - trees.classes)
    figures = {
        "latency_cycles": Figure(cycles, "fitted", "conifer"),
        "interval_cycles": Figure(1),
        "dsp": Figure(0),
        "lut": Figure(luts, "fitted", "tree-lut"),
        "ff": registers(luts, 0),
        "bram": Figure(0),
        "energy_pj": trees_energy_pj(trees),
    }
    return LayerCost("trees", "trees", threshold_bits, 0, score_bits, 0, 0, 0, figures)
