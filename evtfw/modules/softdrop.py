"""Soft drop: the hard core of a jet, and its mass."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import Producer
from evtfw.modules.constituents import Constituents
from evtfw.modules.reclustering import Reclustering, Tree


class Groomed(NamedTuple):
    """What soft drop leaves of a jet.

    Args:
        mass_gev: mass of what is left, in GeV.
        z: share of the softer of its two prongs, min(pt1, pt2) / (pt1 + pt2); 0 if it is one particle.
        delta_r: distance of the two prongs in rapidity and azimuth; 0 if it is one particle.
    """

    mass_gev: float
    z: float
    delta_r: float


def soft_drop(tree: Tree, *, z_cut: float = 0.1, beta: float = 0.0, radius: float = 0.8) -> Groomed:
    """Undo mergers along the harder prong until both prongs are hard: z > z_cut * (delta_r / radius) ** beta.

    Larkoski, Marzani, Soyez and Thaler, "Soft drop", JHEP 05 (2014) 146, arXiv:1402.2657. For ``beta`` 0 it is the
    modified mass drop tagger, the groomer of CMS.

    Args:
        tree: of the Cambridge/Aachen algorithm.
        z_cut: strength of the cut at the distance ``radius``.
        beta: how much softer radiation at small angles may be.
        radius: of the jets.
    """
    node = hard_core(tree, z_cut=z_cut, beta=beta, radius=radius)
    if node not in tree.mergers:
        return Groomed(_mass(tree, node) if node >= 0 else 0.0, 0.0, 0.0)
    first, second = tree.mergers[node]
    pt_1, pt_2 = (math.hypot(tree.px_gev[prong], tree.py_gev[prong]) for prong in (first, second))
    return Groomed(_mass(tree, node), min(pt_1, pt_2) / (pt_1 + pt_2), _delta_r(tree, first, second))


def hard_core(tree: Tree, *, z_cut: float = 0.1, beta: float = 0.0, radius: float = 0.8) -> int:
    """Return the node that soft drop leaves, whose two prongs are hard; the hardest particle if none are.

    The arguments are those of `soft_drop`; -1 for a jet without particles.
    """
    pt = np.hypot(tree.px_gev, tree.py_gev).tolist()
    node = tree.root
    while node in tree.mergers:
        harder, softer = tree.mergers[node]
        if pt[harder] < pt[softer]:
            harder, softer = softer, harder
        threshold = z_cut if beta == 0.0 else z_cut * (_delta_r(tree, harder, softer) / radius) ** beta
        if pt[softer] / (pt[harder] + pt[softer]) > threshold:
            break
        node = harder
    return node


def _mass(tree: Tree, node: int) -> float:
    energy, pz = float(tree.energy_gev[node]), float(tree.pz_gev[node])
    squared = (energy + pz) * (energy - pz) - float(tree.px_gev[node]) ** 2 - float(tree.py_gev[node]) ** 2
    return math.sqrt(max(squared, 0.0))


def _delta_r(tree: Tree, first: int, second: int) -> float:
    rapidity_1, phi_1 = _direction(tree, first)
    rapidity_2, phi_2 = _direction(tree, second)
    return math.hypot(rapidity_1 - rapidity_2, math.remainder(phi_1 - phi_2, 2.0 * math.pi))


def _direction(tree: Tree, node: int) -> tuple[float, float]:
    """Rapidity and azimuth of a node."""
    px, py, pz = float(tree.px_gev[node]), float(tree.py_gev[node]), float(tree.pz_gev[node])
    mass = _mass(tree, node)
    return math.asinh(pz / math.sqrt(max(px * px + py * py + mass * mass, 1e-300))), math.atan2(py, px)


class SoftDrop(Producer):
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

    def produce(self, event: Event) -> None:
        """Groom all jets of the event."""
        groomed = np.array(
            [
                soft_drop(tree, z_cut=self.z_cut, beta=self.beta, radius=self.radius)
                for tree in self._reclustering.trees(event[self.constituents])
            ],
            dtype=np.float32,
        ).reshape(-1, 3)
        event[self.mass_gev], event[self.z], event[self.delta_r] = groomed.T.copy()
