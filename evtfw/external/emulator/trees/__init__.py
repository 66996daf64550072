"""Boosted trees: read from any library, computed as conifer's firmware computes them."""

from evtfw.external.emulator.trees.conversion import convert, holds_trees, read
from evtfw.external.emulator.trees.ensemble import Ensemble, Tree
from evtfw.external.emulator.trees.formats import TreeFormats

__all__ = ["Ensemble", "Tree", "TreeFormats", "convert", "holds_trees", "read"]
