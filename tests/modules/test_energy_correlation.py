import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.modules.energy_correlation import correlations, pairs, triplets


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7, 60])
def test_tables_name_every_pair_and_triplet_once(n):
    smaller, larger = pairs(n)
    assert sorted(zip(smaller.tolist(), larger.tolist(), strict=True)) == list(itertools.combinations(range(n), 2))
    ij, ik, jk, k = triplets(n)
    found = [(smaller[a], larger[a], larger[b]) for a, b in zip(ij, ik, strict=True)]
    assert sorted(found) == list(itertools.combinations(range(n), 3))
    assert all(larger[b] == c == larger[d] for b, c, d in zip(ik, k, jk, strict=True))
    assert all(smaller[d] == larger[a] for a, d in zip(ij, jk, strict=True))


def by_hand(pt, rapidity, phi):
    """The definitions, written out."""
    z = pt / pt.sum()

    def distance(i, j):
        turn = (phi[i] - phi[j] + np.pi) % (2 * np.pi) - np.pi
        return np.hypot(rapidity[i] - rapidity[j], turn)

    sums = {"e2": np.zeros(2), "one_e3": np.zeros(2), "two_e3": np.zeros(2), "e3": np.zeros(2)}
    beta = np.array([1, 2])
    for i, j in itertools.combinations(range(len(z)), 2):
        sums["e2"] += z[i] * z[j] * distance(i, j) ** beta
    for i, j, k in itertools.combinations(range(len(z)), 3):
        low, middle, high = sorted([distance(i, j), distance(i, k), distance(j, k)])
        zzz = z[i] * z[j] * z[k]
        sums["one_e3"] += zzz * low**beta
        sums["two_e3"] += zzz * (low * middle) ** beta
        sums["e3"] += zzz * (low * middle * high) ** beta
    return sums | {"pairs": (1 - (z**2).sum()) / 2}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_sums_are_those_of_the_definitions(seed, count):
    random = np.random.default_rng(seed)
    particles = random.exponential(10.0, count), random.normal(0, 0.4, count), random.uniform(2.8, 3.6, count)
    found = correlations(*particles)
    for name, wanted in by_hand(*particles).items():
        assert getattr(found, name) == pytest.approx(wanted, rel=1e-9, abs=1e-15), name


def test_branch_of_the_azimuth_does_not_matter():
    pt, rapidity = np.array([5.0, 3.0, 2.0]), np.array([0.0, 0.1, 0.3])
    phi = np.array([3.1, 3.2, 3.0])
    wrapped = (phi + np.pi) % (2 * np.pi) - np.pi
    for name, value in correlations(pt, rapidity, phi)._asdict().items():
        assert value == pytest.approx(getattr(correlations(pt, rapidity, wrapped), name)), name


def test_more_particles_than_fit_a_block_are_the_same_sum():
    random = np.random.default_rng(2)
    pt, rapidity, phi = random.exponential(10.0, 70), random.normal(0, 0.3, 70), random.normal(0, 0.3, 70)
    whole = correlations(pt, rapidity, phi)
    z = pt / pt.sum()
    distance = np.hypot(rapidity[:, None] - rapidity, phi[:, None] - phi)
    linked = np.sqrt(z[:, None] * z) * distance
    assert whole.e3[0] == pytest.approx(np.trace(linked @ linked @ linked) / 6)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_particles_have_no_correlation(count):
    assert correlations(*np.ones((3, count))) == (0.0, *4 * ((0.0, 0.0),))
