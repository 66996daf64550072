import numpy as np
import pytest

from evtfw.modules import JetCountFilter, ScoreFilter
from evtfw.testing import run_module

from .particles import jets_of


@pytest.mark.parametrize(
    ("scores", "settings", "passes"),
    [
        ([0.95, 0.1], {}, True),
        ([0.9], {"score_min": 0.9}, True),
        ([0.89], {"score_min": 0.9}, False),
        ([0.95, 0.1], {"at_least": 2}, False),
        ([0.95, 0.96], {"at_least": 2}, True),
        ([], {}, False),
        ([float("nan")], {"score_min": 0.0}, False),
    ],
)
def test_score_filter(scores, settings, passes):
    found = run_module(ScoreFilter(**settings), {"scores": np.array(scores, np.float32)})
    assert found["passed"] is passes


@pytest.mark.parametrize(
    ("count", "settings", "passes"),
    [
        (0, {}, False),
        (1, {}, True),
        (1, {"at_least": 2}, False),
        (3, {"at_least": 2}, True),
        (3, {"at_least": 2, "at_most": 2}, False),
        (0, {"at_least": 0, "at_most": 0}, True),
    ],
)
def test_jet_count_filter(count, settings, passes):
    found = run_module(JetCountFilter(**settings), {"jets": jets_of(*[(300.0, 0.0, 0.0)] * count)})
    assert found["passed"] is passes
