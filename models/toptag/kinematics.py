"""Directions in the detector: pseudorapidity, azimuth and the distance between two of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def eta_phi(px_gev: FloatArray, py_gev: FloatArray, pz_gev: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pseudorapidity and azimuth of momenta.

    Args:
        px_gev, py_gev, pz_gev: Momenta in GeV, float64 of any one shape.

    Returns:
        eta and phi in (-pi, pi], float64 of the same shape; eta is huge but finite along the beam.
    """
    # 1 eV keeps a particle exactly along the beam finite; no detector covers it anyway.
    pt_gev = np.maximum(np.hypot(px_gev, py_gev), 1e-9)
    return np.arcsinh(pz_gev / pt_gev), np.arctan2(py_gev, px_gev)


def wrap_phi(phi: FloatArray) -> FloatArray:
    """Azimuths in radians brought to [-pi, pi), same shape."""
    return (phi + np.pi) % (2.0 * np.pi) - np.pi


def delta_r(eta_1: FloatArray, phi_1: FloatArray, eta_2: FloatArray, phi_2: FloatArray) -> FloatArray:
    """Distance sqrt(delta eta^2 + delta phi^2); the arguments broadcast against each other."""
    return np.hypot(eta_1 - eta_2, wrap_phi(phi_1 - phi_2))
