"""What the generator hands to the detector and to the labelling: particles and parton-level tops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Particles:
    """Stable, visible particles of a batch of events, sorted by event.

    Attributes:
        event: Index of the event in the batch, int64 [n].
        px_gev, py_gev, pz_gev, energy_gev: Four-momenta in GeV, float64 [n].
        pdg_id: Particle Data Group codes, int64 [n].
        charge: In units of the proton's, int64 [n].
    """

    event: IntArray
    px_gev: FloatArray
    py_gev: FloatArray
    pz_gev: FloatArray
    energy_gev: FloatArray
    pdg_id: IntArray
    charge: IntArray


@dataclass(frozen=True, slots=True)
class Tops:
    """Parton-level tops with all-hadronic decays, one row each, sorted by event.

    Attributes:
        event: Index of the event in the batch, int64 [n].
        p4_gev: px, py, pz, E of the top in GeV, float64 [n, 4].
        eta: Of the top, its b quark and the two quarks of its W, float64 [n, 4].
        phi: In radians, of the same, float64 [n, 4].
    """

    event: IntArray
    p4_gev: FloatArray
    eta: FloatArray
    phi: FloatArray


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of simulated collisions."""

    n_events: int
    particles: Particles
    tops: Tops
