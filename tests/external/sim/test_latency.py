from __future__ import annotations

import random

import numpy as np
import pytest

from evtfw.external.sim.latency import LatencyModel

MODELS = [
    (LatencyModel(3), 3, 0),
    (LatencyModel(distribution="uniform", min_ms=1, max_ms=5), 3, 4 / 12**0.5),
    (LatencyModel(3, "exponential"), 3, 3),
    (LatencyModel(3, sigma=0.5), 3, 3 * (np.exp(0.25) - 1) ** 0.5),
    (LatencyModel(3, shape=4), 3, 3 / 2),
    (LatencyModel(0), 0, 0),
]


@pytest.mark.parametrize(("model", "mean", "deviation"), MODELS)
def test_times_have_the_mean_and_the_spread_of_their_distribution(model, mean, deviation):
    draw = model.sampler(random.Random(1))
    times = np.array([draw() for _ in range(20_000)])
    assert times.mean() == pytest.approx(mean, abs=0.05)
    assert times.std() == pytest.approx(deviation, rel=0.05)


def test_a_lognormal_is_given_by_mean_and_99th_percentile():
    draw = LatencyModel(5, p99_ms=20).sampler(random.Random(2))
    times = np.array([draw() for _ in range(40_000)])
    assert times.mean() == pytest.approx(5, rel=0.03)
    assert np.quantile(times, 0.99) == pytest.approx(20, rel=0.06)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distribution": "normal"}, "there is no distribution 'normal' of latencies; known: fixed, uniform"),
        ({"mean_ms": 5, "sigma": 1, "distribution": "gamma"}, "sigma belongs to distribution=lognormal"),
        ({"mean_ms": -1}, "mean_ms must be a number not below 0"),
        ({"mean_ms": float("nan")}, "mean_ms must be"),
        ({"mean_ms": 5, "sigma": 1, "p99_ms": 20}, "needs sigma or p99_ms, and not both"),
        ({"mean_ms": 5, "p99_ms": 4}, "lies between 5 and 74.8"),
        ({"mean_ms": 5, "p99_ms": 100}, "lies between 5 and 74.8"),
        ({"sigma": 1}, "needs a mean above 0"),
        ({"mean_ms": 5, "distribution": "gamma"}, "needs a shape above 0"),
        ({"distribution": "uniform", "min_ms": 5, "max_ms": 4}, "needs max_ms"),
        ({"distribution": "uniform", "mean_ms": 5, "max_ms": 9}, "not a mean"),
        ({"mean_ms": 5, "min_ms": 1}, "min_ms belongs to distribution=uniform"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LatencyModel(**options)
