"""The parametrised detector: particles in, energy-flow candidates out, after Delphes' ATLAS card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.toptag.calorimeter import ECAL, ETA_MAX, HCAL, Deposits, NeutralClusters, measure
from models.toptag.kinematics import eta_phi
from models.toptag.particles import Particles
from models.toptag.tracker import ELECTRON, MUON, log_normal, phi_at_calorimeter, track_efficiency, track_resolution

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PHOTON, K_SHORT, LAMBDA, PION, K_LONG = 22, 310, 3122, 211, 130
# Energy-flow candidates are named as CMS names them: the detector sees a charged hadron, not a kaon.
MASS_GEV = {ELECTRON: 0.000511, MUON: 0.10566, PION: 0.13957}


@dataclass(frozen=True, slots=True)
class Candidates:
    """Energy-flow candidates, sorted by event and falling pT. All arrays [n].

    Attributes:
        event: int64.
        pt_gev, eta, phi, mass_gev: float64.
        pdg_id: +-211, +-11, +-13, 22 (photon) or 130 (neutral hadron), int64.
        charge: In units of the proton's, int64.
    """

    event: IntArray
    pt_gev: FloatArray
    eta: FloatArray
    phi: FloatArray
    mass_gev: FloatArray
    pdg_id: IntArray
    charge: IntArray


def reconstruct(particles: Particles, rng: np.random.Generator) -> Candidates:
    """Pass particles through tracker, electromagnetic and hadronic calorimeter.

    Args:
        particles: Stable, visible particles of a batch of events.
        rng: Source of all randomness: the same particles and seed give the same candidates.

    Returns:
        The candidates of the same events.
    """
    eta, phi = eta_phi(particles.px_gev, particles.py_gev, particles.pz_gev)
    pt_gev = np.hypot(particles.px_gev, particles.py_gev)
    phi_calo = phi_at_calorimeter(pt_gev, phi, particles.charge)
    ecal_share, hcal_share = energy_shares(particles.pdg_id)

    tracked = np.flatnonzero(particles.charge != 0)
    passes = rng.uniform(size=len(tracked)) < track_efficiency(pt_gev[tracked], eta[tracked], particles.pdg_id[tracked])
    tracked = tracked[passes]
    resolution = track_resolution(pt_gev[tracked], eta[tracked], particles.pdg_id[tracked])
    track_pt_gev = log_normal(pt_gev[tracked], resolution * pt_gev[tracked], rng)

    neutrals: list[Candidates] = []
    for layer, share, code in ((ECAL, ecal_share, PHOTON), (HCAL, hcal_share, K_LONG)):
        hits = (share > 0.0) & (np.abs(eta) < ETA_MAX)
        energy_gev = (particles.energy_gev * share)[hits]
        deposits = Deposits(particles.event[hits], eta[hits], phi_calo[hits], energy_gev, np.zeros(len(energy_gev)))
        measured = share[tracked] > 0.0
        rows = tracked[measured]
        energy_gev = track_pt_gev[measured] * np.cosh(eta[rows])
        sigma_gev = resolution[measured] * energy_gev
        tracks = Deposits(particles.event[rows], eta[rows], phi_calo[rows], energy_gev, sigma_gev)
        clusters, scale = measure(layer, deposits, tracks, rng)
        track_pt_gev[measured] *= scale
        neutrals.append(_neutral_candidates(clusters, code))

    charge = particles.charge[tracked]
    code_seen, mass_gev = _appearance(particles.pdg_id[tracked], charge)
    tracks_seen = Candidates(
        particles.event[tracked], track_pt_gev, eta[tracked], phi[tracked], mass_gev, code_seen, charge
    )
    return _merged([tracks_seen, *neutrals])


def energy_shares(pdg_id: IntArray) -> tuple[FloatArray, FloatArray]:
    """Share of a particle's energy that it leaves in the electromagnetic and in the hadronic calorimeter.

    Args:
        pdg_id: Codes, int64 [n].

    Returns:
        Two float64 [n] arrays; the card's `EnergyFraction`.
    """
    code = np.abs(pdg_id)
    ecal = np.zeros(len(code))
    ecal[(code == ELECTRON) | (code == PHOTON)] = 1.0
    ecal[(code == K_SHORT) | (code == LAMBDA)] = 0.3
    return ecal, np.where(code == MUON, 0.0, 1.0 - ecal)


def _appearance(pdg_id: IntArray, charge: IntArray) -> tuple[IntArray, FloatArray]:
    """Code and mass in GeV of what a track looks like: leptons are recognised, all hadrons pass for pions."""
    is_lepton = np.isin(np.abs(pdg_id), (ELECTRON, MUON))
    code = np.where(is_lepton, pdg_id, PION * charge)
    mass_gev = np.full(len(code), MASS_GEV[PION])
    for lepton in (ELECTRON, MUON):
        mass_gev[np.abs(code) == lepton] = MASS_GEV[lepton]
    return code, mass_gev


def _neutral_candidates(neutrals: NeutralClusters, pdg_id: int) -> Candidates:
    zeros = np.zeros(len(neutrals.event))
    pt_gev = neutrals.energy_gev / np.cosh(neutrals.eta)
    code = np.full(len(zeros), pdg_id)
    return Candidates(neutrals.event, pt_gev, neutrals.eta, neutrals.phi, zeros, code, zeros.astype(np.int64))


def _merged(parts: list[Candidates]) -> Candidates:
    """One list per event, falling in pT."""
    event = np.concatenate([part.event for part in parts])
    pt_gev = np.concatenate([part.pt_gev for part in parts])
    order = np.lexsort((-pt_gev, event))
    return Candidates(
        event=event[order],
        pt_gev=pt_gev[order],
        eta=np.concatenate([part.eta for part in parts])[order],
        phi=np.concatenate([part.phi for part in parts])[order],
        mass_gev=np.concatenate([part.mass_gev for part in parts])[order],
        pdg_id=np.concatenate([part.pdg_id for part in parts])[order],
        charge=np.concatenate([part.charge for part in parts])[order],
    )
