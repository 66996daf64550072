"""Soft drop: the hard core of a jet, and its mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import BulkProducer
from evtfw.modules.constituents import Constituents, joined
from evtfw.modules.jets import share_out
from evtfw.modules.reclustering import Reclustering, Trees

_TURN = 2.0 * np.pi


class Groomed(NamedTuple):
    """What soft drop leaves of jets; float64 [n] each.

    Args:
        mass_gev: mass of what is left, in GeV; 0 for a jet without particles.
        z: share of the softer of its two prongs, min(pt1, pt2) / (pt1 + pt2); 0 if it is one particle.
        delta_r: distance of the two prongs in rapidity and azimuth; 0 if it is one particle.
    """

    mass_gev: NDArray[np.float64]
    z: NDArray[np.float64]
    delta_r: NDArray[np.float64]


def soft_drop(trees: Trees, *, z_cut: float = 0.1, beta: float = 0.0, radius: float = 0.8) -> Groomed:
    """Undo mergers along the harder prong until both prongs are hard: z > z_cut * (delta_r / radius) ** beta.

    Larkoski, Marzani, Soyez and Thaler, "Soft drop", JHEP 05 (2014) 146, arXiv:1402.2657. For ``beta`` 0 it is the
    modified mass drop tagger, the groomer of CMS.

    Args:
        trees: of the Cambridge/Aachen algorithm.
        z_cut: strength of the cut at the distance ``radius``.
        beta: how much softer radiation at small angles may be.
        radius: of the jets.
    """
    if not len(trees.parents):
        return Groomed(*np.zeros((3, len(trees))))
    core = hard_cores(trees, z_cut=z_cut, beta=beta, radius=radius)
    first, second = trees.parents[core].T
    has_prongs = (core >= 0) & (first >= 0)
    pt_1, pt_2 = (np.hypot(trees.px_gev[prong], trees.py_gev[prong]) for prong in (first, second))
    return Groomed(
        mass_gev=np.where(core >= 0, _mass(trees, core), 0.0),
        z=np.where(has_prongs, np.minimum(pt_1, pt_2) / (pt_1 + pt_2), 0.0),
        delta_r=np.where(has_prongs, _delta_r(trees, first, second), 0.0),
    )


def hard_cores(trees: Trees, *, z_cut: float = 0.1, beta: float = 0.0, radius: float = 0.8) -> NDArray[np.int64]:
    """Return the node that soft drop leaves of each jet, whose two prongs are hard; the hardest particle if none are.

    The arguments are those of `soft_drop`.

    Returns:
        int64 [n]; -1 for a jet without particles.
    """
    merger = (trees.parents[:, 0] >= 0).nonzero()[0]
    first, second = trees.parents[merger].T
    pt = np.hypot(trees.px_gev, trees.py_gev)
    pt_1, pt_2 = pt[first], pt[second]
    threshold = z_cut if beta == 0.0 else z_cut * (_delta_r(trees, first, second) / radius) ** beta
    goes_on_to = np.full(len(trees.parents), -1)
    goes_on_to[merger] = np.where(
        np.minimum(pt_1, pt_2) / (pt_1 + pt_2) > threshold, -1, np.where(pt_1 < pt_2, second, first)
    )
    steps, cores = goes_on_to.tolist(), trees.roots.tolist()
    for jet, node in enumerate(cores):
        while node >= 0:
            cores[jet], node = node, steps[node]
    return np.array(cores, dtype=np.int64)


def _mass(trees: Trees, node: NDArray[Any]) -> NDArray[np.float64]:
    energy, pz = trees.energy_gev[node], trees.pz_gev[node]
    squared = (energy + pz) * (energy - pz) - trees.px_gev[node] ** 2 - trees.py_gev[node] ** 2
    mass_gev: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0.0))
    return mass_gev


def _delta_r(trees: Trees, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    (rapidity_1, phi_1), (rapidity_2, phi_2) = (_direction(trees, node) for node in (first, second))
    delta_phi = phi_1 - phi_2
    return np.hypot(rapidity_1 - rapidity_2, delta_phi - np.rint(delta_phi / _TURN) * _TURN)


def _direction(trees: Trees, node: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rapidity and azimuth of nodes."""
    px, py, mass = trees.px_gev[node], trees.py_gev[node], _mass(trees, node)
    mt = np.sqrt(np.maximum(px * px + py * py + mass * mass, 1e-300))
    return np.arcsinh(trees.pz_gev[node] / mt), np.arctan2(py, px)


class SoftDrop(BulkProducer):
    """Soft-drop mass and prongs of each jet, clustered again with the Cambridge/Aachen algorithm."""

    z_cut = Parameter[float]("strength of the cut at the distance 'radius'", default=0.1, ge=0, lt=0.5)
    beta = Parameter[float](
        "how much softer radiation at small angles may be; 0: as much as at large ones", default=0.0
    )
    radius = Parameter[float]("radius of the jets", default=0.8, gt=0)

    constituents = Input[Constituents]("particles in each jet", default="constituents")

    mass_gev = Output[NDArray[np.float32]]("mass of what is left of each jet, float32 [n]", unit="GeV")
    z = Output[NDArray[np.float32]]("share of its softer prong in their summed pT, float32 [n]; 0 for one particle")
    delta_r = Output[NDArray[np.float32]](
        "distance of its prongs in rapidity and azimuth, float32 [n]; 0 for one particle"
    )

    def begin_job(self) -> None:
        """Load FastJet."""
        self._reclustering = Reclustering("cambridge")

    def produce_bulk(self, events: Sequence[Event]) -> None:
        """Groom all jets of the events."""
        parts = [event[self.constituents] for event in events]
        trees = self._reclustering.trees(joined(parts))
        groomed = soft_drop(trees, z_cut=self.z_cut, beta=self.beta, radius=self.radius)
        products = (self.mass_gev, self.z, self.delta_r)
        columns = {product: column.astype(np.float32) for product, column in zip(products, groomed, strict=True)}
        share_out(events, (part.n_jets for part in parts), columns)
