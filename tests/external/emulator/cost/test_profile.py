"""Ranges, errors and advice; quality against bits; events from files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.core.errors import ConfigurationError
from evtfw.external.contract import TensorSpec
from evtfw.external.emulator.cost.events import read_events
from evtfw.external.emulator.cost.profile import advised, distribution, profile_of
from evtfw.external.emulator.cost.scan import area, quality, scan
from evtfw.external.emulator.cost.traces import trace
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from tests.external.emulator.cost.conftest import write_network

SPECS = (TensorSpec("x", np.dtype("float32"), (None, 4)),)


@given(
    st.lists(st.floats(-1e4, 1e4, allow_subnormal=False), min_size=1, max_size=40), st.sampled_from([0.1, 0.01, 1e-3])
)
def test_advised_formats_hold_all_values_within_the_tolerance(numbers, tolerance):
    values = np.array(numbers)
    rms = float(np.sqrt(np.mean(values**2)))
    if rms < 1e-6:
        return
    form = advised(values.min(), values.max(), rms, tolerance)
    error = np.abs(form.quantise(values) - values)
    assert error.max() <= form.step / 2
    assert form.step / np.sqrt(12) <= tolerance * rms


def test_what_is_lost_and_beyond_is_counted():
    form = FixedPoint(8, 4)
    values = np.array([0.0, 0.001, 1.0, 20.0])
    found = distribution(values, form.quantise(values), form, 0.01)
    assert (found.zeros, found.lost, found.beyond) == (0.25, 0.25, 0.25)
    assert (found.lowest, found.highest) == (0.0, 20.0)
    assert found.error_max == 16.0
    assert len(found.magnitudes) == 7
    assert (found.step, found.reach) == (1 / 16, 8.0)


def test_nothing_but_zeros_is_no_problem():
    found = distribution(np.zeros(4), np.zeros(4), None, 0.01)
    assert found.magnitudes == ()
    assert found.relative_error == 0


def test_layers_are_compared_with_floating_point(tmp_path):
    file = write_network(tmp_path / "network.onnx")
    inputs = {"x": np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)}
    profiles = [profile_of(one, 0.01) for one in trace(file, "ap_fixed<24,8>", None, inputs)]
    assert [one.name for one in profiles] == ["x", "dense0", "relu0", "dense1", "softmax1"]
    assert [one.weights is not None for one in profiles] == [False, True, False, True, False]
    assert all(one.values.relative_error < 1e-3 for one in profiles[:4])
    coarse = [profile_of(one, 0.01) for one in trace(file, "ap_fixed<8,4>", None, inputs)]
    assert all(two.values.error_rms > one.values.error_rms for one, two in zip(profiles[1:4], coarse[1:4], strict=True))


def test_profile_follows_hls4mls_configuration(tmp_path):
    file = write_network(tmp_path / "network.onnx")
    config = tmp_path / "config.json"
    config.write_text('{"Model": {"Precision": "ap_fixed<12,4>", "ReuseFactor": 1}}')
    inputs = {"x": np.ones((3, 4), np.float32)}
    found = {one.name: one for one in trace(file, "hls4ml", config, inputs)}
    assert str(found["relu0"].formats.result) == "ap_fixed<12,4>"
    with pytest.raises(ConfigurationError, match="--config"):
        list(trace(file, "hls4ml", None, inputs))


def test_more_bits_come_closer(tmp_path):
    file = write_network(tmp_path / "network.onnx")
    events = read_events(SPECS, None, 300)
    exact, coarse, fine = scan(file, ["ap_fixed<7,5>", "ap_fixed<20,6>"], events)
    assert (exact.format, exact.agreement, exact.accuracy) == ("", 1.0, None)
    assert (coarse.bits, fine.bits) == (7, 20)
    assert fine.deviation_rms < coarse.deviation_rms
    assert coarse.agreement <= fine.agreement


def test_quality_with_labels():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    found = quality("fixed8", scores, scores, np.array([0, 1, 1, 1]))
    assert (found.accuracy, found.bits) == (0.75, 8)
    assert found.auc == 1.0
    one_hot = quality("", scores, scores, np.eye(2)[[0, 1, 1, 1]])
    assert (one_hot.accuracy, one_hot.auc) == (0.75, 1.0)
    single = quality("", scores[:, 1:], scores[:, 1:], np.array([0, 1, 1, 1]))
    assert (single.accuracy, single.auc) == (0.75, 1.0)
    with pytest.raises(ConfigurationError, match="2 classes"):
        quality("", scores, scores, np.array([0, 1, 2, 3]))


def test_area_counts_ties_half_and_needs_both_classes():
    assert area(np.zeros(6), np.array([True, False] * 3)) == 0.5
    assert area(np.zeros(2), np.array([True, True])) is None


def test_events_are_read_by_name(tmp_path):
    file = tmp_path / "events.npz"
    np.savez(file, x=np.ones((5, 4)), truth=np.arange(5))
    found = read_events(SPECS, file, 3, "truth")
    assert found.inputs["x"].shape == (3, 4)
    assert found.inputs["x"].dtype == np.float32
    assert found.labels.tolist() == [0, 1, 2]
    np.savez(file, anything=np.ones((5, 4)))
    assert read_events(SPECS, file, 10).rows == 5
    np.save(tmp_path / "rows.npy", np.ones((2, 4)))
    np.save(tmp_path / "truth.npy", np.arange(2))
    assert read_events(SPECS, tmp_path / "rows.npy", 9, str(tmp_path / "truth.npy")).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "labels", "message"),
    [
        ({"y": np.ones((5, 4)), "z": np.ones(2)}, "", "no array 'x'"),
        ({"x": np.ones((5, 3))}, "", r"shape \(5, 3\)"),
        ({"x": np.ones((5, 4)), "truth": np.ones(5)}, "thruth", "did you mean 'truth'"),
        ({"x": np.ones((5, 4)), "truth": np.ones(4)}, "truth", "only 4 labels"),
    ],
)
def test_events_that_do_not_fit_are_refused(tmp_path, arrays, labels, message):
    file = tmp_path / "events.npz"
    np.savez(file, **arrays)
    with pytest.raises(ConfigurationError, match=message):
        read_events(SPECS, file, 10, labels)


def test_file_that_is_none_is_refused(tmp_path):
    file = tmp_path / "events.npz"
    file.write_text("no array")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_events(SPECS, file, 10)


def test_random_events_are_the_same_each_time():
    first, second = (read_events(SPECS, None, 10).inputs["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
