import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.observe.histogram import HistogramStack, bin_edges_ns, bin_numbers

durations = st.lists(st.integers(0, 2**43), min_size=1, max_size=200)


def filled(values):
    stack = HistogramStack(1)
    stack.add(np.array([values], dtype=np.int64))
    return stack[0]


@given(durations)
def test_sums_and_extremes_are_exact(values):
    histogram = filled(values)
    assert (histogram.count, histogram.total_ns) == (len(values), sum(values))
    assert (histogram.min_ns, histogram.max_ns) == (min(values), max(values))
    assert histogram.counts.sum() == len(values)


@given(durations, st.floats(0, 1))
def test_quantiles_are_right_within_one_percent(values, fraction):
    rank = max(1, int(np.ceil(fraction * len(values))))
    exact = sorted(values)[rank - 1]
    assert filled(values).quantile_ns(fraction) == pytest.approx(exact, rel=0.01, abs=1.01)


@given(st.lists(st.integers(1, 2**43), min_size=1))
def test_every_duration_lies_within_its_bin(values):
    numbers = bin_numbers(np.array(values))
    assert (bin_edges_ns(numbers) <= values).all()
    assert (bin_edges_ns(numbers + 1) > values).all()


def test_durations_out_of_range_are_kept_at_the_ends():
    histogram = filled([-5, 0, 2**50])
    assert histogram.counts[0] == 2
    assert histogram.counts[-1] == 1
    assert histogram.max_ns == 2**50


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=2, max_size=50), st.integers(0, 50))
def test_adding_in_parts_equals_adding_at_once(pairs, cut):
    values = np.array(pairs, dtype=np.int64).T
    once, parts = HistogramStack(2), HistogramStack(2)
    once.add(values)
    parts.add(values[:, :cut])
    parts.add(values[:, cut:])
    for number in range(2):
        assert once[number].to_dict() == parts[number].to_dict()


def test_the_first_rows_can_be_filled_alone():
    stack = HistogramStack(3)
    stack.add(np.array([[10]]))
    assert [stack[number].count for number in range(len(stack))] == [1, 0, 0]


def test_an_empty_histogram_says_zero():
    histogram = HistogramStack(1)[0]
    assert (histogram.mean_ns, histogram.quantile_ns(0.5), histogram.min_ns) == (0.0, 0.0, 0)
    assert len(histogram.coarse()[1]) == 0
    assert histogram.to_dict()["bins"]["count"] == []


@given(durations)
def test_coarse_bins_keep_the_sum_and_cover_the_range(values):
    histogram = filled(values)
    edges, contents = histogram.coarse()
    assert contents.sum() == pytest.approx(len(values))
    assert edges[0] <= max(1, min(values))
    assert max(1, *values) <= edges[-1]
    assert np.allclose(np.diff(np.log2(edges)), 0.25)
