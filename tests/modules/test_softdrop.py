import math

import awkward as ak
import fastjet
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from evtfw.modules import SoftDrop
from evtfw.modules.reclustering import Reclustering, four_momenta
from evtfw.modules.softdrop import Groomed, soft_drop
from evtfw.testing import run_module

from .particles import constituents_of, random_particles

seeds = st.integers(0, 10_000)
counts = st.integers(1, 80)


def groomed(*jets, **options):
    found = soft_drop(Reclustering().trees(constituents_of(*jets)), **options)
    return [Groomed(*jet) for jet in zip(*found, strict=True)]


def mass_of(particles):
    px, py, pz, energy = (column.sum() for column in four_momenta(constituents_of(particles)))
    return math.sqrt(max(energy**2 - px**2 - py**2 - pz**2, 0.0))


def of_fastjet(jets, *, beta, z_cut=0.1):
    """Soft drop of FastJet contrib through its array interface."""
    momenta = dict(zip(("px", "py", "pz", "E"), four_momenta(constituents_of(*jets)), strict=True))
    array = ak.unflatten(ak.zip(momenta, with_name="Momentum4D"), [len(jet) for jet in jets])
    sequence = fastjet.ClusterSequence(array, fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0))
    return sequence.exclusive_jets_softdrop_grooming(njets=1, beta=beta, symmetry_cut=z_cut, R0=0.8)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5])
def test_agrees_with_fastjet_contrib(beta):
    jets = [random_particles(seed, 20 + seed, eta=1.0 - 0.1 * seed, phi=0.2 * seed) for seed in range(20)]
    wanted = of_fastjet(jets, beta=beta)
    found = groomed(*jets, beta=beta)
    assert_allclose([g.mass_gev for g in found], wanted.msoftdrop, rtol=1e-6, atol=1e-4)
    two_prongs = np.array([g.delta_r > 0 for g in found])
    assert two_prongs.any()
    assert_allclose([g.z for g in found if g.delta_r], wanted.symmetrysoftdrop.to_numpy()[two_prongs], rtol=1e-6)
    assert_allclose([g.delta_r for g in found if g.delta_r], wanted.deltaRsoftdrop.to_numpy()[two_prongs], rtol=1e-6)


@given(st.floats(5.0, 500.0), st.floats(5.0, 500.0), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-3, 3))
def test_two_massless_particles(pt_1, pt_2, delta_eta, delta_phi, phi):
    delta_r, z = math.hypot(delta_eta, delta_phi), min(pt_1, pt_2) / (pt_1 + pt_2)
    (found,) = groomed([(pt_1, 0.3, phi), (pt_2, 0.3 + delta_eta, phi + delta_phi)])
    if z < 0.0999 or delta_r < 1e-3:
        assert z > 0.0999 or found == pytest.approx((0.0, 0.0, 0.0), abs=0.1)
    elif z > 0.1001:
        mass = math.sqrt(2.0 * pt_1 * pt_2 * (math.cosh(delta_eta) - math.cos(delta_phi)))
        assert found == pytest.approx((mass, z, delta_r), rel=1e-2, abs=1e-2)


def test_soft_radiation_at_wide_angle_is_dropped_and_the_core_kept():
    prongs = [(300.0, 0.2, 0.0), (250.0, -0.2, 0.0)]
    (found,) = groomed([*prongs, (5.0, 0.0, 0.7), (3.0, 0.1, -0.7)])
    assert found.mass_gev == pytest.approx(mass_of(prongs), rel=1e-6)
    assert found.z == pytest.approx(250 / 550)
    assert found.delta_r == pytest.approx(0.4)


def test_positive_beta_keeps_soft_prongs_at_small_angles():
    particles = [(95.0, 0.0, 0.0), (5.0, 0.2, 0.0)]
    assert groomed(particles, beta=0.0)[0].z == 0.0
    assert groomed(particles, beta=1.0)[0].z == pytest.approx(0.05)
    assert groomed(particles, beta=1.0, radius=0.2)[0].z == 0.0


@settings(deadline=None)
@given(seeds, counts)
def test_grooming_never_adds_mass(seed, count):
    particles = random_particles(seed, count)
    (found,) = groomed(particles)
    assert found.mass_gev <= mass_of(particles) + 1e-3
    assert found.z == 0.0 or 0.1 < found.z <= 0.5


@settings(deadline=None)
@given(seeds, counts, st.randoms(use_true_random=False))
def test_order_of_particles_and_neighbours_do_not_matter(seed, count, random):
    particles, other = random_particles(seed, count), random_particles(seed + 1, 5)
    shuffled = random.sample(particles, count)
    assert groomed(other, shuffled)[1] == pytest.approx(groomed(particles)[0], rel=1e-5, abs=1e-3)


def test_no_cut_leaves_the_jet_as_it_is():
    particles = random_particles(3, 50)
    assert groomed(particles, z_cut=0.0)[0].mass_gev == pytest.approx(mass_of(particles), rel=1e-6)


def test_module_with_jets_of_no_one_and_many_particles():
    jets = [[], [(100.0, 0.0, 0.0)], random_particles(5, 40), [(300.0, 0.2, 0.0), (250.0, -0.2, 0.0)]]
    found = run_module(SoftDrop(z_cut=0.05), {"constituents": constituents_of(*jets)})
    assert set(found) == {"mass_gev", "z", "delta_r"}
    for name, values in found.items():
        assert values.dtype == np.float32
        assert_allclose(values, [getattr(g, name) for g in groomed(*jets, z_cut=0.05)], rtol=1e-6)
    assert_allclose(found["mass_gev"][:2], 0.0, atol=1e-3)


def test_event_without_jets():
    found = run_module(SoftDrop(), {"constituents": constituents_of()})
    assert [values.shape for values in found.values()] == [(0,)] * 3


def test_fastjet_does_not_talk(capfd):
    groomed(random_particles(1, 10))
    assert capfd.readouterr().out == ""
