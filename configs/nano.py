"""Counts and keeps large-radius jets: several paths share modules; jets alone are enough, as in NanoAOD.

evtfw run configs/nano.py
evtfw run configs/nano.py -- --files nano.root --pt-min-gev 200 --output jets.parquet
"""

from pydantic import Field

from evtfw import Arguments, EndPath, Path, Process, Sequence, Task, data
from evtfw.io.histogram_output import HistogramOutput
from evtfw.io.parquet_output import ParquetOutput
from evtfw.io.root_output import RootOutput
from evtfw.io.root_source import RootSource
from evtfw.modules import JetCountFilter, JetHistograms, JetSelector


class Args(Arguments):
    """Count and keep large-radius jets."""

    files: list[str] = Field([str(data.path("toptag_sample.root"))], description="input files, globs or URLs")
    collection: str = Field("FatJet", description="name of the jets")
    pt_min_gev: float = Field(300.0, ge=0, description="lowest jet pT")
    output: str = Field("nano_jets.root", description="file for events with jets; .root or .parquet")
    histograms: str = Field("nano_histograms.root", description="file for histograms")


args = Args.parse()

process = Process("NANO")
process.source = RootSource(files=args.files)

process.jets = JetSelector(collection=args.collection, pt_min_gev=args.pt_min_gev)
process.leading = process.jets.clone(max_jets=1)
process.central = process.jets.clone(abs_eta_max=1.0)
process.selections = Task(process.jets, process.leading, process.central)  # run only if something consumes them

process.anyjet = JetCountFilter(jets="jets", at_least=1)
process.twojets = JetCountFilter(jets="jets", at_least=2)
process.anycentral = JetCountFilter(jets="central", at_least=1)
process.preselection = Sequence(process.anyjet)

process.leadinghistograms = JetHistograms(jets="leading", mass_max_gev=400.0)
process.centralhistograms = process.leadinghistograms.clone(jets="central", abs_eta_max=1.0)

process.dijet = Path(process.preselection, process.twojets, process.leadinghistograms, process.selections)
process.onejet = Path(process.preselection, ~process.twojets, process.anycentral, process.centralhistograms)

Output = ParquetOutput if args.output.endswith(".parquet") else RootOutput
process.out = Output(path=args.output, keep=["jets", "leading"], select=["dijet", "onejet"])
process.plots = HistogramOutput(path=args.histograms)
process.end = EndPath(process.out, process.plots)
