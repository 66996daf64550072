"""Energy correlation functions: how the momentum of a jet is shared between two and three directions.

Larkoski, Salam and Thaler, JHEP 06 (2013) 108, arXiv:1305.0007; with fewer angles than pairs: Moult, Necib and Thaler,
JHEP 12 (2016) 153, arXiv:1609.07483.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = NDArray[np.intp]

_BLOCK = 8192
"""Triplets looked at together: larger arrays leave the cache and are fetched from the system anew at each call, which
took four times as long for 60 particles."""


class Correlations(NamedTuple):
    """Sums over all pairs and all triplets of the particles of one jet, for an angular power of 1 and of 2.

    ``z`` are shares of pT, ``R`` distances in rapidity and azimuth. All are 0 for a jet of too few particles.

    Args:
        pairs: sum of z_i z_j.
        e2: sums of z_i z_j R_ij^beta.
        one_e3: sums of z_i z_j z_k times the smallest of R_ij^beta, R_ik^beta and R_jk^beta.
        two_e3: sums of z_i z_j z_k times the product of the two smallest.
        e3: sums of z_i z_j z_k times the product of all three.
    """

    pairs: float
    e2: tuple[float, float]
    one_e3: tuple[float, float]
    two_e3: tuple[float, float]
    e3: tuple[float, float]


def correlations(pt_gev: Floats, rapidity: Floats, phi: Floats) -> Correlations:
    """Correlate the particles of a jet; the effort grows with the third power of their number.

    Args:
        pt_gev: their transverse momenta in GeV, [m].
        rapidity: their rapidities, [m].
        phi: their azimuths in radians, of any branch, [m].
    """
    if len(pt_gev) < 2:
        return Correlations(0.0, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    z = pt_gev / pt_gev.sum()
    first, second = pairs(len(z))
    distance_phi = phi.take(first) - phi.take(second)
    distance_phi -= np.rint(distance_phi * (0.5 / math.pi)) * (2.0 * math.pi)
    distance = np.hypot(rapidity.take(first) - rapidity.take(second), distance_phi)
    z_pair = z.take(first) * z.take(second)

    first_moments, second_moments = _triplet_moments(z, z_pair, distance)
    return Correlations(
        float(z_pair.sum()),
        (float(z_pair @ distance), float(z_pair @ (distance * distance))),
        *zip(first_moments.tolist(), second_moments.tolist(), strict=True),
    )


def _triplet_moments(z: Floats, z_pair: Floats, distance: Floats) -> tuple[Floats, Floats]:
    """Sums over triplets of z_i z_j z_k times the smallest, two smallest and three distances, and their squares."""
    sums, sums_of_squares = np.zeros(3), np.zeros(3)
    table = triplets(len(z))
    for begin in range(0, len(table[0]), _BLOCK):
        one, two, three, last = (column[begin : begin + _BLOCK] for column in table)
        z_triplet = z_pair.take(one)
        z_triplet *= z.take(last)
        r_1, r_2, r_3 = distance.take(one), distance.take(two), distance.take(three)
        low, high = np.minimum(r_1, r_2), np.maximum(r_1, r_2)
        smallest, largest = np.minimum(low, r_3), np.maximum(high, r_3)
        product = smallest * np.maximum(low, np.minimum(high, r_3))
        values = np.stack([smallest, product, product * largest])
        sums += values @ z_triplet
        values *= values
        sums_of_squares += values @ z_triplet
    return sums, sums_of_squares


def pairs(n: int) -> tuple[Numbers, Numbers]:
    """Return the smaller and the larger member of all pairs of n numbers, intp [n (n - 1) / 2] each."""
    count = math.comb(n, 2)
    smaller, larger = _all_pairs(_capacity(n))
    return smaller[:count], larger[:count]


def triplets(n: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return all triplets i < j < k of n numbers, intp [n (n - 1) (n - 2) / 6] each.

    Returns:
        Positions among `pairs` of (i, j), (i, k) and (j, k), and k.
    """
    count = math.comb(n, 3)
    ij, ik, jk, k = _all_triplets(_capacity(n))
    return ij[:count], ik[:count], jk[:count], k[:count]


def _capacity(n: int) -> int:
    """Size of the table to use, so that few are made and kept."""
    return 1 << max(n - 1, 1).bit_length()


@functools.cache
def _all_pairs(n: int) -> tuple[Numbers, Numbers]:
    """Ordered by the larger member: the table for fewer numbers is the beginning of that for more."""
    larger, smaller = np.tril_indices(n, -1)
    return smaller, larger


@functools.cache
def _all_triplets(n: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Ordered by the largest member, for the same reason."""
    smaller, larger = _all_pairs(n)
    counts = np.array([math.comb(k, 2) for k in range(n)])
    k = np.repeat(np.arange(n), counts)
    ij = np.arange(len(k)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = k * (k - 1) // 2  # where the pairs with k begin
    return ij, row + smaller[ij], row + larger[ij], k
