"""Ready-made physics modules: jet selection, constituents, images, substructure, tagging, filters and histograms."""

from evtfw.modules.constituents import Constituents, JetConstituents
from evtfw.modules.filters import JetCountFilter, ScoreFilter
from evtfw.modules.histograms import JetHistograms, TopTagHistograms
from evtfw.modules.images import JetImages, jet_images
from evtfw.modules.jet_classifier import JetClassifier
from evtfw.modules.jet_features import FEATURES, JetFeatures
from evtfw.modules.jets import Jets, JetSelector
from evtfw.modules.score_histograms import ScoreComparison
from evtfw.modules.softdrop import SoftDrop
from evtfw.modules.standardise import Standardise, standardised
from evtfw.modules.subjettiness import Subjettiness
from evtfw.modules.toptagger import TopTagger

__all__ = [
    "FEATURES",
    "Constituents",
    "JetClassifier",
    "JetConstituents",
    "JetCountFilter",
    "JetFeatures",
    "JetHistograms",
    "JetImages",
    "JetSelector",
    "Jets",
    "ScoreComparison",
    "ScoreFilter",
    "SoftDrop",
    "Standardise",
    "Subjettiness",
    "TopTagHistograms",
    "TopTagger",
    "jet_images",
    "standardised",
]
