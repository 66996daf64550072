"""The models of `evtfw emulate report` held against what was measured of real designs."""

from __future__ import annotations

import math

from benchmarks.measure import Options, Report
from evtfw.external.emulator.cost.design import Design
from evtfw.external.emulator.cost.figures import QUANTITIES
from evtfw.external.emulator.cost.fpgas import find_fpga
from evtfw.external.emulator.cost.multiplying import FFS_PER_DSP, FFS_PER_LUT, LUTS_PER_ADDER_BIT
from evtfw.external.emulator.cost.optimiser import is_available, optimise
from evtfw.external.emulator.cost.published import PUBLISHED, VARIANCE, Published, jet_trees
from evtfw.external.emulator.cost.report import model_cost

UNITS = {quantity.name: quantity.heading for quantity in QUANTITIES}
BDT_NS, BDT_LUT_SHARE = 5.0, 0.005
"""Latency and share of a VU9P's LUTs of the boosted trees that are published beside the networks."""


def measure(options: Options) -> Report:
    del options
    report = Report("figures of 'evtfw emulate report' over published ones; the unit is the published value")
    for design in PUBLISHED:
        _compare(report, design)
    for variance in (VARIANCE / 2, VARIANCE * 2):
        for design in PUBLISHED[:2]:
            _compare(report, design, variance)
    _trees(report)
    if is_available():
        _adders(report, next(design for design in PUBLISHED if design.name == "Q6"))
    report.note(
        "Networks: hls4ml's jet tagger 16-64-32-32-5 with seeded normal weights of variance 2 / inputs, rounded to the "
        "published bits; the original weights are not available. 1 is agreement."
    )
    report.note(
        f"Fitted: {LUTS_PER_ADDER_BIT} LUTs per bit of an adder to BF and Q6; {FFS_PER_LUT} FFs a LUT and "
        f"{FFS_PER_DSP} a DSP to BF, Q6 and QE; the delay of an adder to the cycles. So these rows show how well the "
        "formulas can be made to fit, not how well they predict; only QE's LUTs and the trees took no part. The "
        "variance of the weights was chosen with the published DSPs and LUTs in sight; rows show half and twice of it."
    )
    report.note("Not in the model: what else takes Q6's 124 and QE's 66 DSPs; 6 bits need none, softmax takes 5.")
    report.note("QE's bits per layer are taken as 4, ternary, 2, binary; its weights after training are not known.")
    report.note(
        f"BDT: published {BDT_NS:g} ns and {BDT_LUT_SHARE:.1%} of the LUTs, without the number of trees; here "
        "50 trees of depth 3, pipelined as conifer does by default, where the published one has a single cycle."
    )
    return report


def _compare(report: Report, design: Published, variance: float = VARIANCE) -> None:
    cost = model_cost(design.stand_in(variance), Design(find_fpga(design.fpga), design.strategy, design.reuse_factor))
    for name, value in design.figures.items():
        found = math.ceil(cost.totals[name].value)
        label = f"{UNITS[name]}: {found} : {value:g}"
        other = "" if variance == VARIANCE else f", variance {variance:g} / inputs"
        report.add(f"{design.name}, {design.fpga}{other}", label, [found / value], "")


def _trees(report: Report) -> None:
    cost = model_cost(jet_trees(trees=50, depth=3), Design(find_fpga("vu9p")))
    report.add("BDT, vu9p", f"latency: {cost.latency_ns:g} ns : {BDT_NS:g} ns", [cost.latency_ns / BDT_NS], "")
    share = cost.shares()["lut"]
    report.add("BDT, vu9p", f"LUT: {share:.1%} : {BDT_LUT_SHARE:.1%}", [share / BDT_LUT_SHARE], "")


def _adders(report: Report, design: Published) -> None:
    """Set da4ml's LUTs beside what hls4ml's own design took."""
    luts = sum(graph.luts for graph in optimise(design.stand_in()).values())
    published = design.figures["lut"]
    report.add("Q6 by da4ml", f"LUT: {luts:.0f} : {published:g}", [luts / published], "")
