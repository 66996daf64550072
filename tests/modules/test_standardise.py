import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evtfw import EvtfwError
from evtfw.modules import Standardise
from evtfw.testing import run_module

VALUES = np.array([[110.0, 2.0], [900.0, 5.0], [-900.0, 1.0]], np.float32)


def test_columns_are_shifted_scaled_and_limited():
    found = run_module(Standardise(mean=[100.0, 1.0], std=[10.0, 2.0], limit=4.0), {"values": VALUES})["standardised"]
    assert found.dtype == np.float32
    assert_array_equal(found, [[1.0, 0.5], [4.0, 2.0], [-4.0, 0.0]])


def test_event_without_objects():
    found = run_module(Standardise(mean=[0.0, 0.0], std=[1.0, 1.0]), {"values": VALUES[:0]})["standardised"]
    assert found.shape == (0, 2)


@pytest.mark.parametrize(("mean", "std"), [([0.0], [1.0, 1.0]), ([0.0, 0.0], [1.0, 0.0])])
def test_impossible_scales_are_refused(mean, std):
    with pytest.raises(EvtfwError, match=r"module.*means and .* standard deviations"):
        run_module(Standardise(mean=mean, std=std), {"values": VALUES})
