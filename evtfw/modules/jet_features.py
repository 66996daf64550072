"""Sixteen numbers about the substructure of a jet, the input of small networks and of trees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import BulkProducer
from evtfw.modules.constituents import Constituents, joined
from evtfw.modules.energy_correlation import Correlations, correlations
from evtfw.modules.jets import share_out
from evtfw.modules.reclustering import Reclustering, Trees
from evtfw.modules.softdrop import hard_cores

FEATURES: Final = (
    "zlogz",
    "c1_b0_mmdt",
    "c1_b1_mmdt",
    "c1_b2_mmdt",
    "c2_b1_mmdt",
    "c2_b2_mmdt",
    "d2_b1_mmdt",
    "d2_b2_mmdt",
    "d2_a1_b1_mmdt",
    "d2_a1_b2_mmdt",
    "m2_b1_mmdt",
    "m2_b2_mmdt",
    "n2_b1_mmdt",
    "n2_b2_mmdt",
    "mass_mmdt",
    "multiplicity",
)
"""Names of the features, in order: those of the hls4ml jet data set (``hls4ml_lhc_jets_hlf`` of OpenML)."""


def jet_features(trees: Trees, *, z_cut: float = 0.1, max_particles: int = 60) -> NDArray[np.float64]:
    """Measure the substructure of jets.

    The observables are those of Coleman et al., JINST 13 (2018) T01003, arXiv:1709.08705, table 1, as used by Duarte
    et al., JINST 13 (2018) P07027, arXiv:1804.06913:

    * ``zlogz``: the sum of z ln z over all particles, where z is a particle's share of the jet's energy;
    * ``c1``, ``c2``, ``d2``, ``m2``, ``n2`` with angular powers b (and a): ratios of energy correlation functions, see
      `ratios`, of the jet groomed by the modified mass drop tagger (soft drop with beta 0);
    * ``mass``: of the groomed jet, in GeV;
    * ``multiplicity``: particles of the jet before grooming.

    Args:
        trees: of the Cambridge/Aachen algorithm.
        z_cut: of the grooming.
        max_particles: only so many with the highest pT of the groomed jet are correlated.

    Returns:
        float64 [n_jets, 16], in the order of `FEATURES`; what is not defined for so few particles is 0.
    """
    features = np.zeros((len(trees), len(FEATURES)))
    cores = hard_cores(trees, z_cut=z_cut)
    for jet in (cores >= 0).nonzero()[0].tolist():
        root, core = int(trees.roots[jet]), int(cores[jet])
        n_particles = (int(trees.offsets[jet + 1] - trees.offsets[jet]) + 1) // 2
        particles = slice(trees.offsets[jet], trees.offsets[jet] + n_particles)
        share = trees.energy_gev[particles] / trees.energy_gev[root]
        px, py, pz, energy = (p[core] for p in (trees.px_gev, trees.py_gev, trees.pz_gev, trees.energy_gev))
        features[jet, 0] = share @ np.log(share)
        features[jet, 1:14] = ratios(_correlated(trees, core, max_particles))
        features[jet, 14] = math.sqrt(max((energy + pz) * (energy - pz) - px * px - py * py, 0.0))
        features[jet, 15] = n_particles
    return features


def _correlated(trees: Trees, node: int, max_particles: int) -> Correlations:
    particles = np.array(trees.particles(node))
    px, py, pz, energy = (p.take(particles) for p in (trees.px_gev, trees.py_gev, trees.pz_gev, trees.energy_gev))
    pt = np.hypot(px, py)
    if len(pt) > max_particles:
        hardest = np.argpartition(-pt, max_particles)[:max_particles]
        px, py, pz, energy, pt = (p.take(hardest) for p in (px, py, pz, energy, pt))
    return correlations(pt, np.arctanh(pz / energy), np.arctan2(py, px))


def ratios(sums: Correlations) -> list[float]:
    """Return the 13 ratios of energy correlation functions among `FEATURES`, in order.

    C1 = e2, C2 = e3 / e2^2, D2 = e3 / e2^3, all with the same angular power; D2 with a and b = e3(a) / e2(b)^(3a/b)
    (Larkoski, Moult and Neill, arXiv:1411.0665); M2 = 1e3 / e2 and N2 = 2e3 / e2^2 (arXiv:1609.07483).
    """
    if sums.e2[0] <= 0.0:
        return [sums.pairs] + 12 * [0.0]
    c2 = [e3 / e2**2 for e2, e3 in zip(sums.e2, sums.e3, strict=True)]
    d2 = [e3 / e2**3 for e2, e3 in zip(sums.e2, sums.e3, strict=True)]
    mixed = [d2[0], sums.e3[0] / sums.e2[1] ** 1.5]
    m2 = [e3 / e2 for e2, e3 in zip(sums.e2, sums.one_e3, strict=True)]
    n2 = [e3 / e2**2 for e2, e3 in zip(sums.e2, sums.two_e3, strict=True)]
    return [sums.pairs, *sums.e2, *c2, *d2, *mixed, *m2, *n2]


class JetFeatures(BulkProducer):
    """Sixteen substructure features of each jet, as in the hls4ml jet data set."""

    z_cut = Parameter[float]("strength of the grooming (modified mass drop tagger)", default=0.1, ge=0, lt=0.5)
    max_particles = Parameter[int]("correlate only so many particles with the highest pT", default=60, ge=3)

    constituents = Input[Constituents]("particles in each jet", default="constituents")

    features = Output[NDArray[np.float32]](
        "zlogz, c1 (3), c2 (2), d2 (4), m2 (2), n2 (2), groomed mass in GeV, multiplicity; float32 [n, 16]"
    )

    def begin_job(self) -> None:
        """Load FastJet."""
        self._reclustering = Reclustering("cambridge")

    def produce_bulk(self, events: Sequence[Event]) -> None:
        """Measure all jets of the events."""
        parts = [event[self.constituents] for event in events]
        trees = self._reclustering.trees(joined(parts))
        measured = jet_features(trees, z_cut=self.z_cut, max_particles=self.max_particles)
        share_out(events, (part.n_jets for part in parts), {self.features: measured.astype(np.float32)})
