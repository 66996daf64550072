"""Ready-made physics modules: jet selection, constituents, images, substructure, tagging, filters and histograms."""

from evtfw.modules.constituents import Constituents, JetConstituents
from evtfw.modules.filters import JetCountFilter, ScoreFilter
from evtfw.modules.histograms import JetHistograms, TopTagHistograms
from evtfw.modules.images import JetImages, jet_images
from evtfw.modules.jets import Jets, JetSelector
from evtfw.modules.softdrop import SoftDrop
from evtfw.modules.subjettiness import Subjettiness
from evtfw.modules.toptagger import TopTagger

__all__ = [
    "Constituents",
    "JetConstituents",
    "JetCountFilter",
    "JetHistograms",
    "JetImages",
    "JetSelector",
    "Jets",
    "ScoreFilter",
    "SoftDrop",
    "Subjettiness",
    "TopTagHistograms",
    "TopTagger",
    "jet_images",
]
