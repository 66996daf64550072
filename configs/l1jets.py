"""Classifies jets as a Level-1 trigger would: a network in floating point, with six bits and trees, side by side.

The 6-bit network and the trees run on an emulated FPGA, to the bit.

evtfw run configs/l1jets.py
evtfw run configs/l1jets.py -- --plots plots
evtfw run configs/l1jets.py -- --quantised 'fpga:l1jets_q6?pace=device' --score-min 0.8
"""

import json

from pydantic import Field

from evtfw import Arguments, EndPath, Path, Process, Sequence, data
from evtfw.io.histogram_output import HistogramOutput
from evtfw.io.root_output import RootOutput
from evtfw.io.root_source import RootSource
from evtfw.modules import (
    JetClassifier,
    JetConstituents,
    JetCountFilter,
    JetFeatures,
    JetSelector,
    ScoreComparison,
    ScoreFilter,
    Standardise,
)


class Args(Arguments):
    """Find top quark jets by three versions of a small classifier; the 6-bit network decides."""

    files: list[str] = Field([str(data.path("toptag_sample.root"))], description="input files, globs or URLs")
    floating: str = Field("cpu:l1jets", description="backend of the network in floating point")
    # The cycles are those that 'evtfw emulate report' tells of these models.
    quantised: str = Field("fpga:l1jets_q6?latency_cycles=11", description="backend of the 6-bit network")
    trees: str = Field("fpga:l1jets_trees?latency_cycles=12", description="backend of the boosted trees")
    pt_min_gev: float = Field(550.0, ge=0, description="lowest jet pT; the shipped models know 550 to 650 GeV")
    pt_max_gev: float = Field(650.0, gt=0, description="jet pT must be below")
    abs_eta_max: float = Field(2.0, gt=0, description="jet abs(eta) must be below")
    score_min: float = Field(0.9, ge=0, le=1, description="lowest score of one top jet")
    score_min_pair: float = Field(0.5, ge=0, le=1, description="lowest score of each of two top jets")
    output: str = Field("l1jets.root", description="file for events that the menu accepts")
    histograms: str = Field("l1jets_histograms.root", description="file for histograms")
    plots: str | None = Field(None, description="folder for pictures of the histograms")


args = Args.parse()
scaling = json.loads(data.path("l1jets.json").read_text(encoding="utf-8"))["scaling"]

process = Process("L1JETS")
process.source = RootSource(files=args.files)

process.jets = JetSelector(pt_min_gev=args.pt_min_gev, pt_max_gev=args.pt_max_gev, abs_eta_max=args.abs_eta_max)
process.anyjet = JetCountFilter(jets="jets", at_least=1)
process.constituents = JetConstituents(jets="jets")
process.features = JetFeatures(constituents="constituents")
process.inputs = Standardise(values="features", **scaling)

process.floating = JetClassifier(features="inputs", backend=args.floating)
process.sixbits = process.floating.clone(backend=args.quantised)
process.trees = process.floating.clone(backend=args.trees, output_name="scores", logistic=True)
process.comparison = ScoreComparison(
    reference="floating", scores=["floating", "sixbits", "trees"], score_min=args.score_min
)

process.top = ScoreFilter(scores="sixbits", score_min=args.score_min)
process.toppair = ScoreFilter(scores="sixbits", score_min=args.score_min_pair, at_least=2)

process.measured = Sequence(
    process.jets, process.anyjet, process.floating, process.sixbits, process.trees, process.comparison
)
process.singletop = Path(process.measured, process.top)
process.doubletop = Path(process.measured, process.toppair)

process.out = RootOutput(
    path=args.output, keep=["jets", "features", "floating", "sixbits", "trees"], select=["singletop", "doubletop"]
)
process.plots = HistogramOutput(path=args.histograms, plots=args.plots)
process.end = EndPath(process.out, process.plots)
