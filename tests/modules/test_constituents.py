import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from evtfw import EvtfwError
from evtfw.modules import JetConstituents
from evtfw.modules.constituents import follow_references
from evtfw.testing import run_module

from .particles import jets_of


@st.composite
def linked_jets(draw):
    """Number of jets, links (jet, candidate) in any order, positions of the selected jets."""
    n_jets = draw(st.integers(0, 5))
    links = draw(st.lists(st.tuples(st.integers(0, n_jets - 1), st.integers(0, 30)))) if n_jets else []
    return n_jets, links, sorted(draw(st.sets(st.integers(0, n_jets - 1)))) if n_jets else []


@given(linked_jets(), st.sampled_from([np.int16, np.int32, np.int64, np.uint32]))
def test_references_are_followed_like_a_loop_does(event, dtype):
    n_jets, links, chosen = event
    columns = [np.array([link[i] for link in links], dtype) for i in (0, 1)]
    jet, candidate = follow_references(*columns, np.array(chosen, np.int32), n_jets)
    wanted = [(number, c) for number, position in enumerate(chosen) for j, c in links if j == position]
    assert list(zip(jet.tolist(), candidate.tolist(), strict=True)) == wanted


def event(**changes):
    """Two jets, the second of which is selected; its particles are candidates 3 and 0."""
    return {
        "jets": dataclasses.replace(jets_of((600.0, 0.5, 1.0)), index=np.array([1], np.int32)),
        "all_jets_pt": np.array([650.0, 600.0], np.float32),
        "jet_of_link": np.array([0, 1, 1], np.int32),
        "candidate_of_link": np.array([1, 3, 0], np.int32),
        "pt": np.array([10.0, 20.0, 30.0, 40.0], np.float32),
        "eta": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "phi": np.array([1.1, 1.2, 1.3, 1.4], np.float32),
        "mass": np.array([0.14, 0.0, 0.5, 0.0], np.float32),
        **changes,
    }


def test_module_puts_the_particles_of_selected_jets():
    found = run_module(JetConstituents(), event())["constituents"]
    assert_array_equal(found.pt_gev, np.float32([40.0, 10.0]))
    assert_array_equal(found.eta, np.float32([0.4, 0.1]))
    assert_array_equal(found.phi, np.float32([1.4, 1.1]))
    assert_array_equal(found.mass_gev, np.float32([0.0, 0.14]))
    assert_array_equal(found.jet, [0, 0])
    assert_array_equal(found.offsets, [0, 2])


def test_weights_scale_momentum_and_mass():
    found = run_module(JetConstituents(), event(weight=np.array([0.5, 1.0, 1.0, 0.25], np.float32)))["constituents"]
    assert_allclose(found.pt_gev, [10.0, 5.0])
    assert_allclose(found.mass_gev, [0.0, 0.07])


def test_jet_without_links_has_no_particles():
    jets = dataclasses.replace(jets_of((700.0, 0.0, 0.0), (600.0, 0.5, 1.0)), index=np.array([0, 2], np.int32))
    found = run_module(JetConstituents(), event(jets=jets, all_jets_pt=np.ones(3, np.float32)))["constituents"]
    assert_array_equal(found.offsets, [0, 1, 1])


def test_no_jet_selected():
    found = run_module(JetConstituents(), event(jets=jets_of()))["constituents"]
    assert len(found) == 0
    assert_array_equal(found.offsets, [0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"candidate_of_link": np.array([1, 4, 0], np.int32)},
            r"1:1:1.*FatJetPFCands_pFCandsIdx\[1\] is 4.*PFCands has 4",
        ),
        ({"candidate_of_link": np.array([1, 0, -1], np.int32)}, r"FatJetPFCands_pFCandsIdx\[2\] is -1"),
        ({"jet_of_link": np.array([2, 0, 1], np.int32)}, r"FatJetPFCands_jetIdx\[0\] is 2.*FatJet has 2"),
        ({"jet_of_link": np.array([-1, 0, 1], np.int32)}, r"FatJetPFCands_jetIdx\[0\] is -1"),
        ({"jet_of_link": np.array([0, 1], np.int32)}, r"_jetIdx has 2 values.*_pFCandsIdx has 3"),
    ],
)
def test_corrupt_references_are_named(changes, message):
    with pytest.raises(EvtfwError, match=message):
        run_module(JetConstituents(), event(**changes))
