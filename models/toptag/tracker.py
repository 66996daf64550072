"""Tracks of charged particles: efficiency, momentum resolution, and where they enter the calorimeters.

All numbers are those of Delphes' card `delphes_card_ATLAS.tcl` (modules *TrackingEfficiency, *MomentumSmearing,
ParticlePropagator).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ELECTRON, MUON = 11, 13
TRACKER_RADIUS_M = 1.15
FIELD_T = 2.0
# A unit charge of 1 GeV in 1 T has a radius of 1 / 0.2998 m.
CURVATURE_GEV_PER_T_M = 0.299792458

TRACK_ETA_MAX = 2.5
TRACK_PT_MIN_GEV = 0.1
BARREL_ETA_MAX = 1.5
# Efficiency below 1 GeV, from 1 to 100 GeV, above 100 GeV; barrel, then endcap.
EFFICIENCY_PT_EDGES_GEV = np.array([1.0, 100.0])
EFFICIENCY = {
    "hadron": np.array([[0.70, 0.95, 0.95], [0.60, 0.85, 0.85]]),
    "electron": np.array([[0.73, 0.95, 0.99], [0.50, 0.83, 0.90]]),
    "muon": np.array([[0.75, 0.99, 0.99], [0.70, 0.98, 0.98]]),
}
# sigma(pT)/pT = sqrt(constant^2 + (slope * pT)^2), slope in 1/GeV, for |eta| up to 0.5, 1.5, 2.5.
RESOLUTION_ETA_EDGES = np.array([0.5, 1.5])
RESOLUTION = {
    "hadron": np.array([[0.06, 1.3e-3], [0.10, 1.7e-3], [0.25, 3.1e-3]]),
    "electron": np.array([[0.03, 1.3e-3], [0.05, 1.7e-3], [0.15, 3.1e-3]]),
    "muon": np.array([[0.01, 1.0e-4], [0.015, 1.5e-4], [0.025, 3.5e-4]]),
}


def species(pdg_id: IntArray) -> dict[str, BoolArray]:
    """Which particles behave in the tracker as a "hadron", an "electron" or a "muon": masks of the input's shape."""
    code = np.abs(pdg_id)
    electron, muon = code == ELECTRON, code == MUON
    return {"hadron": ~electron & ~muon, "electron": electron, "muon": muon}


def track_efficiency(pt_gev: FloatArray, eta: FloatArray, pdg_id: IntArray) -> FloatArray:
    """Probability that a charged particle leaves a track.

    Args:
        pt_gev: Transverse momenta in GeV, [n].
        eta: Pseudorapidities, [n].
        pdg_id: Codes of charged particles, int64 [n].

    Returns:
        float64 [n] between 0 and 1.
    """
    endcap = (np.abs(eta) > BARREL_ETA_MAX).astype(np.int64)
    pt_bin = np.searchsorted(EFFICIENCY_PT_EDGES_GEV, pt_gev)
    efficiency = np.zeros(len(pt_gev))
    for name, mask in species(pdg_id).items():
        efficiency[mask] = EFFICIENCY[name][endcap[mask], pt_bin[mask]]
    return np.where((np.abs(eta) <= TRACK_ETA_MAX) & (pt_gev > TRACK_PT_MIN_GEV), efficiency, 0.0)


def track_resolution(pt_gev: FloatArray, eta: FloatArray, pdg_id: IntArray) -> FloatArray:
    """Relative pT resolution of tracks, float64 [n]; the arguments are those of `track_efficiency`."""
    eta_bin = np.searchsorted(RESOLUTION_ETA_EDGES, np.abs(eta))
    resolution = np.zeros(len(pt_gev))
    for name, mask in species(pdg_id).items():
        constant, slope = RESOLUTION[name][eta_bin[mask]].T
        resolution[mask] = np.hypot(constant, slope * pt_gev[mask])
    return resolution


def phi_at_calorimeter(pt_gev: FloatArray, phi: FloatArray, charge: IntArray) -> FloatArray:
    """Azimuth at which a particle leaves the magnetic field's cylinder.

    Bending is taken in the barrel's transverse plane for all; a particle too soft to reach the calorimeter is given
    the azimuth of its turning point, where a spiral towards the endcap starts.

    Args:
        pt_gev: Transverse momenta in GeV, [n].
        phi: Azimuths at the collision in radians, [n].
        charge: In units of the proton's, [n].

    Returns:
        Azimuths in radians, not wrapped, float64 [n].
    """
    bending_radius_m = np.maximum(pt_gev, 1e-9) / (CURVATURE_GEV_PER_T_M * FIELD_T)
    half_chord = np.minimum(TRACKER_RADIUS_M / (2.0 * bending_radius_m), 1.0)
    return phi - charge.astype(np.float64) * np.arcsin(half_chord)


def log_normal(mean: FloatArray, sigma: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Smear positive quantities without making any negative.

    Args:
        mean: Expected values, [n], > 0 (0 stays 0).
        sigma: Standard deviations in the same unit, [n].
        rng: Source of one normal number per value.

    Returns:
        float64 [n] in the same unit.
    """
    relative = np.divide(sigma, mean, out=np.zeros_like(mean), where=mean > 0.0)
    width = np.sqrt(np.log1p(relative**2))
    smeared: FloatArray = mean * np.exp(width * rng.standard_normal(len(mean)) - 0.5 * width**2)
    return smeared
