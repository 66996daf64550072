"""Tags top quark jets: their images go to a network on any backend, while soft drop runs beside it.

evtfw run configs/toptag.py --threads 2 --streams 4
evtfw run configs/toptag.py -- --backend 'cpu:toptag?threads=1' --score-min 0.5
evtfw run configs/toptag.py -- --backend fpga
evtfw run configs/toptag.py -- --files pfnano.root --pt-min-gev 200 --pt-max-gev 3000 --weight PFCands_puppiWeight
"""

from pydantic import Field

from evtfw import Arguments, EndPath, Path, Process, data
from evtfw.external.fallback import fallback
from evtfw.io.histogram_output import HistogramOutput
from evtfw.io.root_output import RootOutput
from evtfw.io.root_source import RootSource
from evtfw.modules import (
    JetConstituents,
    JetCountFilter,
    JetImages,
    JetSelector,
    ScoreFilter,
    SoftDrop,
    TopTagger,
    TopTagHistograms,
)


class Args(Arguments):
    """Tag top quark jets in events with jets and their constituents (PFNano layout)."""

    files: list[str] = Field([str(data.path("toptag_sample.root"))], description="input files, globs or URLs")
    backend: str | None = Field(
        None,
        description="URL of a service to ask first, or 'fpga' for the emulated one; the embedded CPU model stands in",
    )
    pt_min_gev: float = Field(550.0, ge=0, description="lowest jet pT; the shipped network knows 550 to 650 GeV")
    pt_max_gev: float = Field(650.0, gt=0, description="jet pT must be below")
    abs_eta_max: float = Field(2.0, gt=0, description="jet abs(eta) must be below")
    weight: str | None = Field(None, description="branch with weights of the candidates, e.g. PFCands_puppiWeight")
    pixels: int = Field(64, ge=1, description="pixels per side of a jet image")
    half_width: float = Field(1.2, gt=0, description="half the side of a jet image in eta and phi")
    score_min: float = Field(0.9, ge=0, le=1, description="lowest score of a top jet")
    output: str = Field("toptag.root", description="file for events with a top jet")
    histograms: str = Field("toptag_histograms.root", description="file for histograms")
    plots: str | None = Field(None, description="folder for pictures of the histograms")


args = Args.parse()
service = "fpga:toptag" if args.backend == "fpga" else args.backend

process = Process("TOPTAG")
process.source = RootSource(files=args.files)

process.jets = JetSelector(
    collection="FatJet", pt_min_gev=args.pt_min_gev, pt_max_gev=args.pt_max_gev, abs_eta_max=args.abs_eta_max
)
process.anyjet = JetCountFilter(jets="jets", at_least=1)
process.constituents = JetConstituents(jets="jets", weight=args.weight and f"source:{args.weight}")
process.softdrop = SoftDrop(constituents="constituents")
process.images = JetImages(jets="jets", constituents="constituents", pixels=args.pixels, half_width=args.half_width)
process.toptag = TopTagger(images="images", backend=fallback(service, "cpu:toptag"))
process.alljets = TopTagHistograms(jets="jets", softdrop_mass_gev="softdrop:mass_gev", scores="toptag")
process.tagged = ScoreFilter(scores="toptag", score_min=args.score_min)
process.topjets = process.alljets.clone()

process.tag = Path(
    process.jets, process.anyjet, process.softdrop, process.toptag, process.alljets, process.tagged, process.topjets
)

process.out = RootOutput(path=args.output, keep=["jets", "softdrop", "toptag"], select=["tag"])
process.plots = HistogramOutput(path=args.histograms, plots=args.plots)
process.end = EndPath(process.out, process.plots)
