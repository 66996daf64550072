import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from evtfw import ConfigurationError
from evtfw.modules import JetSelector
from evtfw.modules.jets import hardest, selected
from evtfw.testing import run_module

JETS = {
    "pt": np.array([700.0, 600.0, 560.0, 90.0], np.float32),
    "eta": np.array([0.1, -2.4, 1.9, 0.0], np.float32),
    "phi": np.array([0.0, 1.0, 2.0, 3.0], np.float32),
    "mass": np.array([170.0, 80.0, 20.0, 5.0], np.float32),
}


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(-5, 5))),
    st.floats(0, 1000),
    st.none() | st.floats(0, 1000),
    st.none() | st.floats(0, 5),
)
def test_selection_is_that_of_a_loop(jets, pt_min, pt_max, eta_max):
    pt, eta = (np.array([jet[i] for jet in jets]) for i in (0, 1))
    wanted = [
        i
        for i, (p, e) in enumerate(jets)
        if p >= pt_min and (pt_max is None or p < pt_max) and (eta_max is None or abs(e) < eta_max)
    ]
    found = selected(pt, eta, pt_min_gev=pt_min, pt_max_gev=pt_max, abs_eta_max=eta_max)
    assert found.tolist() == wanted


@given(st.lists(st.lists(st.floats(0, 1000)), min_size=1, max_size=4), st.integers(1, 5))
def test_the_hardest_jets_are_kept_in_the_order_of_the_input(events, max_jets):
    pt = np.concatenate([np.array(pts) for pts in events])
    starts = np.cumsum([0, *map(len, events)])
    found = hardest(np.arange(len(pt)), pt, starts[:-1], max_jets)
    assert found.tolist() == sorted(found)
    for (first, last), pts in zip(itertools.pairwise(starts), events, strict=True):
        own = found[(found >= first) & (found < last)]
        assert sorted(pt[own], reverse=True) == sorted(pts, reverse=True)[:max_jets]


def test_module_puts_the_selected_jets():
    jets = run_module(JetSelector(pt_min_gev=550.0, abs_eta_max=2.0), JETS)["jets"]
    assert_array_equal(jets.index, [0, 2])
    for name, column in (("pt_gev", "pt"), ("eta", "eta"), ("phi", "phi"), ("mass_gev", "mass")):
        values = getattr(jets, name)
        assert values.dtype == np.float32
        assert_array_equal(values, JETS[column][[0, 2]])


def test_double_precision_input_becomes_single():
    jets = run_module(JetSelector(), {name: values.astype(np.float64) for name, values in JETS.items()})["jets"]
    assert jets.mass_gev.dtype == np.float32


def test_event_without_jets():
    jets = run_module(JetSelector(max_jets=1), {name: values[:0] for name, values in JETS.items()})["jets"]
    assert len(jets) == 0


def test_parameters_have_bounds():
    with pytest.raises(ConfigurationError, match=r"pt_min_gev.*-1") as caught:
        run_module(JetSelector(pt_min_gev=-1.0, max_jets=0), JETS)
    assert "max_jets" in str(caught.value)
