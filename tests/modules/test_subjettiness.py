import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.modules import Subjettiness
from evtfw.testing import run_module

from .particles import constituents_of, random_particles


def taus(*jets, **options):
    found = run_module(Subjettiness(**options), {"constituents": constituents_of(*jets)})
    return np.stack([found["tau1"], found["tau2"], found["tau3"]], axis=1)


def test_as_many_axes_as_particles_leave_nothing():
    particles = [(300.0, 0.3, 0.0), (200.0, -0.3, 0.0), (150.0, 0.0, 0.5)]
    found = taus(*(particles[:count] for count in (1, 2, 3)))
    for n_particles in (1, 2, 3):
        assert found[n_particles - 1, n_particles - 1 :] == pytest.approx(0.0, abs=1e-4)
        assert (found[n_particles - 1, : n_particles - 1] > 0.1).all()


def test_one_axis_and_two_particles_by_hand():
    """The winner takes all: the axis is the harder particle, so only the softer one has a distance, 0.4."""
    (found,) = taus([(300.0, 0.2, 0.0), (100.0, -0.2, 0.0)], axes="WTA_KT_Axes", radius=0.8)
    assert found[0] == pytest.approx(100.0 * 0.4 / (400.0 * 0.8), rel=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(3, 60))
def test_more_axes_describe_a_jet_better(seed, count):
    (found,) = taus(random_particles(seed, count))
    assert found[0] >= found[1] - 1e-6
    assert found[1] >= found[2] - 1e-6


def test_neighbours_do_not_matter():
    first, second = random_particles(1, 30), random_particles(2, 20, eta=1.0)
    assert taus(first, [], second)[[0, 2]] == pytest.approx(np.concatenate([taus(first), taus(second)]))
    assert taus(first, [], second)[1] == pytest.approx(0.0)


def test_event_without_jets():
    assert taus().shape == (0, 3)
