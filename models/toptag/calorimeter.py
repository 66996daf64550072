"""One calorimeter layer: cells, resolution, and what tracks do not explain of the energy in a cell.

The algorithm is that of Delphes' `SimpleCalorimeter` (de Favereau et al., arXiv:1307.6346, section 3.2), the numbers
are those of its card `delphes_card_ATLAS.tcl`; cells are aligned at eta = 0 and phi = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.toptag.kinematics import wrap_phi
from models.toptag.tracker import log_normal

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ETA_MAX = 4.9


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a layer with equal cells and one resolution.

    Attributes:
        eta_max: The region ends at this |eta|; it begins where the one before ends.
        d_eta: Width of a cell in eta.
        n_phi: Cells around the beam.
        constant: sigma = sqrt((constant E)^2 + stochastic^2 E + noise^2).
        stochastic: In sqrt(GeV).
        noise_gev: In GeV.
    """

    eta_max: float
    d_eta: float
    n_phi: int
    constant: float
    stochastic: float
    noise_gev: float = 0.0


@dataclass(frozen=True, slots=True)
class Layer:
    """A calorimeter layer.

    Attributes:
        regions: From the centre outwards; the last ends at `ETA_MAX`.
        energy_min_gev: Cells with less are empty.
        significance_min: Cells whose energy is less than so many standard deviations are empty.
    """

    regions: tuple[Region, ...]
    energy_min_gev: float
    significance_min: float = 2.0


ECAL = Layer(
    regions=(
        Region(eta_max=2.958, d_eta=0.0174, n_phi=360, constant=0.0017, stochastic=0.101),
        Region(eta_max=3.2, d_eta=0.175, n_phi=36, constant=0.0017, stochastic=0.101),
        Region(eta_max=ETA_MAX, d_eta=0.175, n_phi=36, constant=0.0350, stochastic=0.285),
    ),
    energy_min_gev=0.5,
)
HCAL = Layer(
    regions=(
        Region(eta_max=1.7, d_eta=0.1, n_phi=36, constant=0.0302, stochastic=0.5205, noise_gev=1.59),
        Region(eta_max=2.5, d_eta=0.1, n_phi=36, constant=0.0500, stochastic=0.706),
        Region(eta_max=3.2, d_eta=0.2, n_phi=18, constant=0.0500, stochastic=0.706),
        Region(eta_max=ETA_MAX, d_eta=0.2, n_phi=18, constant=0.09420, stochastic=1.00),
    ),
    energy_min_gev=1.0,
)


@dataclass(frozen=True, slots=True)
class Deposits:
    """Energies that reach a layer, or tracks that point at it, one row each.

    Attributes:
        event: int64 [n].
        eta, phi: Where they enter the layer, float64 [n].
        energy_gev: float64 [n].
        sigma_gev: Uncertainty of a track's energy, float64 [n]; unused for particles.
    """

    event: IntArray
    eta: FloatArray
    phi: FloatArray
    energy_gev: FloatArray
    sigma_gev: FloatArray


@dataclass(frozen=True, slots=True)
class NeutralClusters:
    """Energy that no track explains; massless. All arrays [n]."""

    event: IntArray
    eta: FloatArray
    phi: FloatArray
    energy_gev: FloatArray


def resolution_gev(layer: Layer, region: IntArray, energy_gev: FloatArray) -> FloatArray:
    """Standard deviation of measured energies in GeV, float64 [n], for region indices [n] and energies [n]."""
    constant, stochastic, noise = (
        np.array([getattr(part, name) for part in layer.regions])[region]
        for name in ("constant", "stochastic", "noise_gev")
    )
    resolution: FloatArray = np.sqrt((constant * energy_gev) ** 2 + stochastic**2 * energy_gev + noise**2)
    return resolution


def measure(
    layer: Layer, particles: Deposits, tracks: Deposits, rng: np.random.Generator
) -> tuple[NeutralClusters, FloatArray]:
    """Measure a layer's cells and separate charged from neutral energy.

    A cell whose energy exceeds that of its tracks significantly yields a neutral cluster, at a random place in the
    cell; otherwise its tracks are rescaled to the average of both measurements, weighted by their uncertainties.

    Args:
        layer: `ECAL` or `HCAL`.
        particles: True energy deposits.
        tracks: Tracks that deposit in this layer, with their measured energies.
        rng: Source of randomness.

    Returns:
        The neutral clusters, and the factor by which each track's momentum changes, float64 [n_tracks].
    """
    deposit_key, n_deposits = _cell_keys(layer, particles), len(particles.event)
    cells, cell = np.unique(np.append(deposit_key, _cell_keys(layer, tracks)), return_inverse=True)
    cell_of_track = cell[n_deposits:]

    true_energy = _sum_by_cell(cell[:n_deposits], particles.energy_gev, len(cells))
    event, region, row, column = _unpack(cells)
    energy = log_normal(true_energy, resolution_gev(layer, region, true_energy), rng)
    sigma = resolution_gev(layer, region, energy)
    energy[(energy < layer.energy_min_gev) | (energy < layer.significance_min * sigma)] = 0.0

    track_energy = _sum_by_cell(cell_of_track, tracks.energy_gev, len(cells))
    track_variance = _sum_by_cell(cell_of_track, tracks.sigma_gev**2, len(cells))
    neutral = np.maximum(energy - track_energy, 0.0)
    significant = neutral > layer.significance_min * np.sqrt(track_variance + sigma**2)
    is_cluster = (neutral > layer.energy_min_gev) & significant

    # A cell that saw nothing cannot correct its tracks.
    shared = ~is_cluster & (track_energy > 0.0) & (energy > 0.0)
    best = (track_energy * sigma**2 + energy * track_variance) / np.maximum(track_variance + sigma**2, 1e-30)
    scale = np.divide(best, track_energy, out=np.ones_like(best), where=shared)

    eta, phi = _places(layer, region[is_cluster], row[is_cluster], column[is_cluster], rng)
    return NeutralClusters(event[is_cluster], eta, phi, neutral[is_cluster]), scale[cell_of_track]


# A cell's key: event, region, row in eta (offset to be positive) and column in phi, in one integer to sort by.
_ROWS, _COLUMNS, _REGIONS = 1024, 512, 8
_ROW_OFFSET = _ROWS // 2


def _cell_keys(layer: Layer, deposits: Deposits) -> IntArray:
    edges = np.array([region.eta_max for region in layer.regions])
    region = np.minimum(np.searchsorted(edges, np.abs(deposits.eta)), len(edges) - 1)
    d_eta = np.array([part.d_eta for part in layer.regions])[region]
    n_phi = np.array([part.n_phi for part in layer.regions])[region]
    row = np.floor(deposits.eta / d_eta).astype(np.int64) + _ROW_OFFSET
    column = np.floor((wrap_phi(deposits.phi) + np.pi) * n_phi / (2.0 * np.pi)).astype(np.int64) % n_phi
    keys: IntArray = ((deposits.event * _REGIONS + region) * _ROWS + row) * _COLUMNS + column
    return keys


def _sum_by_cell(cell: IntArray, energy_gev: FloatArray, n_cells: int) -> FloatArray:
    # bincount of nothing is an array of integers, even with weights.
    return np.bincount(cell, weights=energy_gev, minlength=n_cells).astype(np.float64)


def _unpack(keys: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Event, region, row and column of each key."""
    rest, column = np.divmod(keys, _COLUMNS)
    rest, row = np.divmod(rest, _ROWS)
    event, region = np.divmod(rest, _REGIONS)
    return event, region, row - _ROW_OFFSET, column


def _places(
    layer: Layer, region: IntArray, row: IntArray, column: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """A random eta and phi within each cell: the detector does not know better, and images show no grid."""
    d_eta = np.array([part.d_eta for part in layer.regions])[region]
    d_phi = 2.0 * np.pi / np.array([part.n_phi for part in layer.regions])[region]
    eta = (row + rng.uniform(size=len(row))) * d_eta
    phi = (column + rng.uniform(size=len(row))) * d_phi - np.pi
    return eta, wrap_phi(phi)
