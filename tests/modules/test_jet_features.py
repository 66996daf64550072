import awkward as ak
import fastjet
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from evtfw.modules import FEATURES, JetFeatures, SoftDrop
from evtfw.modules.jet_features import jet_features
from evtfw.modules.reclustering import Reclustering, four_momenta
from evtfw.testing import run_module

from .particles import constituents_of, random_particles

FASTJET = {
    "c1_b0_mmdt": {"func": "c1", "beta": 0},
    "c1_b1_mmdt": {"func": "c1", "beta": 1},
    "c1_b2_mmdt": {"func": "c1", "beta": 2},
    "c2_b1_mmdt": {"func": "c2", "beta": 1},
    "c2_b2_mmdt": {"func": "c2", "beta": 2},
    "d2_b1_mmdt": {"func": "d2", "beta": 1},
    "d2_b2_mmdt": {"func": "d2", "beta": 2},
    "d2_a1_b1_mmdt": {"func": "generalizedd2", "alpha": 1, "beta": 1},
    "d2_a1_b2_mmdt": {"func": "generalizedd2", "alpha": 1, "beta": 2},
    "m2_b1_mmdt": {"func": "mseries", "npoint": 2, "beta": 1},
    "m2_b2_mmdt": {"func": "mseries", "npoint": 2, "beta": 2},
    "n2_b1_mmdt": {"func": "nseries", "npoint": 2, "beta": 1},
    "n2_b2_mmdt": {"func": "nseries", "npoint": 2, "beta": 2},
}
"""What FastJet contrib's EnergyCorrelator is to be asked for each feature."""
JETS = [random_particles(seed, 3 + seed, eta=1.0 - 0.1 * seed, phi=0.2 * seed) for seed in range(20)]


def features_of(*jets, **options):
    return jet_features(Reclustering().trees(constituents_of(*jets)), **options)


def column(name, table):
    return table[:, FEATURES.index(name)]


@pytest.mark.parametrize("name", FASTJET)
def test_agrees_with_fastjet_contrib(name):
    momenta = dict(zip(("px", "py", "pz", "E"), four_momenta(constituents_of(*JETS)), strict=True))
    array = ak.unflatten(ak.zip(momenta, with_name="Momentum4D"), [len(jet) for jet in JETS])
    sequence = fastjet.ClusterSequence(array, fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0))
    wanted = ak.to_numpy(ak.flatten(sequence.exclusive_jets_energy_correlator(njets=1, **FASTJET[name]), axis=None))
    assert_allclose(column(name, features_of(*JETS, z_cut=0.0)), wanted, rtol=1e-9)


def test_mass_is_that_of_soft_drop_and_correlations_are_of_what_it_leaves():
    prongs = [(300.0, 0.2, 0.0), (250.0, -0.2, 0.0), (200.0, 0.0, 0.3)]
    soft = [(5.0, 0.0, 0.7), (3.0, 0.1, -0.7)]
    groomed, plain = features_of(prongs + soft)[0], features_of(prongs)[0]
    assert_allclose(groomed[1:15], plain[1:15], rtol=1e-9)
    assert (groomed[15], plain[15]) == (5, 3)
    found = run_module(SoftDrop(), {"constituents": constituents_of(*JETS)})["mass_gev"]
    assert_allclose(column("mass_mmdt", features_of(*JETS)), found, rtol=1e-6, atol=1e-3)


def test_equal_particles_share_the_energy():
    (found,) = features_of([(10.0, 0.0, 0.1 * i) for i in range(8)])
    assert column("zlogz", found[None]) == pytest.approx(-np.log(8))
    assert column("c1_b0_mmdt", found[None]) == pytest.approx((1 - 1 / 8) / 2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 70), st.floats(-3.0, 3.0))
def test_turning_and_scaling_a_jet_changes_its_mass_only(seed, count, angle):
    particles = random_particles(seed, count)
    turned = [(2.0 * pt, eta, phi + angle) for pt, eta, phi in particles]
    one, other = features_of(particles), features_of(turned)
    one[:, FEATURES.index("mass_mmdt")] *= 2.0
    assert_allclose(one, other, rtol=2e-3, atol=2e-3)
    assert np.isfinite(one).all()


def test_only_the_hardest_particles_are_correlated():
    particles = random_particles(1, 50)
    hardest = sorted(particles, reverse=True)[:20]
    limited, alone = features_of(particles, z_cut=0.0, max_particles=20), features_of(hardest, z_cut=0.0)
    assert_allclose(limited[:, 1:14], alone[:, 1:14], rtol=1e-6)
    assert limited[0, 15] == 50


def test_module_with_jets_of_no_one_two_and_many_particles():
    jets = [[], [(100.0, 0.0, 0.0)], [(100.0, 0.0, 0.0), (80.0, 0.3, 0.0)], [(9.0, 0.1, 0.1)] * 4, JETS[9]]
    found = run_module(JetFeatures(), {"constituents": constituents_of(*jets)})["features"]
    assert found.dtype == np.float32
    assert found.shape == (5, len(FEATURES)) == (5, 16)
    assert np.isfinite(found).all()
    assert found[:, 15].tolist() == [0, 1, 2, 4, len(JETS[9])]
    assert not found[0].any()
    assert_allclose(found[4:], features_of(JETS[9]), rtol=1e-6)


def test_event_without_jets():
    assert run_module(JetFeatures(), {"constituents": constituents_of()})["features"].shape == (0, 16)
