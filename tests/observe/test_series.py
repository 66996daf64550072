from hypothesis import given
from hypothesis import strategies as st

from evtfw.observe.series import Series


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=500), st.integers(4, 32))
def test_memory_is_bounded_and_the_ends_are_kept(steps, capacity):
    series, time_s = Series(["sum"], capacity), 0.0
    for number, step in enumerate(steps):
        time_s += step
        series.add(time_s, [float(number)])
    assert len(series) <= capacity + 1
    times = series["time_s"].tolist()
    assert times == sorted(set(times))
    assert times[0] == steps[0]
    assert times[-1] == time_s
    assert series["sum"][-1] == len(steps) - 1


def test_a_day_of_samples_is_spread_evenly():
    series = Series(["value"], capacity=100)
    for tick in range(864_000):
        series.add(tick / 10, [1.0])
    gaps = series["time_s"][1:-1] - series["time_s"][:-2]
    assert 50 <= len(series) <= 101
    assert gaps.max() <= 2.01 * gaps.min()


def test_columns_by_name():
    series = Series(["a", "b"])
    series.add(1.0, [2.0, 3.0])
    assert series.to_dict() == {"time_s": [1.0], "a": [2.0], "b": [3.0]}
