"""The device's queue, pipeline and link, beside what a simulation step by step gives."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.external.emulator.device.clock import DeviceClock
from evtfw.external.emulator.device.description import Device

NS = 1e-9


def device(latency=100, interval=10, **more):
    return Device(title="test", latency_s=latency * NS, initiation_interval_s=interval * NS, **more)


def admitted(clock, *requests):
    return [clock.admit(now, rows) for now, rows in requests]


def test_rows_follow_one_another_in_the_pipeline():
    times = DeviceClock(device()).admit(1000, 5)
    assert times == (1000, 1000 + 100 + 4 * 10, 140, 0)


def test_requests_wait_for_the_interval_not_for_the_latency():
    times = admitted(DeviceClock(device()), (0, 1), (0, 1), (3, 2), (200, 1))
    assert [t.start_ns for t in times] == [0, 10, 20, 200]
    assert [t.finish_ns for t in times] == [100, 110, 130, 300]
    assert [t.queue_ns for t in times] == [0, 10, 17, 0]
    assert [t.alone_ns for t in times] == [100, 100, 110, 100]


def test_kernels_and_devices_share_the_work():
    for shares in ({"kernels": 2}, {"devices": 2}):
        times = admitted(DeviceClock(device(**shares)), (0, 4), (0, 1), (0, 1))
        assert [t.start_ns for t in times] == [0, 0, 10]


def test_a_large_request_is_cut_into_calls_that_use_all_kernels():
    calls = DeviceClock(device(kernels=2, batch={"rows": 4}))
    assert calls.admit(0, 8).finish_ns == 130
    assert DeviceClock(device(batch={"rows": 4})).admit(0, 9).finish_ns == 80 + 100


def test_fixed_calls_take_as_long_as_full_ones():
    clock = DeviceClock(device(latency=100, interval=50, batch={"rows": 4, "fixed": True}))
    assert [clock.admit(0, rows).finish_ns for rows in (1, 4, 5)] == [100, 150, 250]


def test_transfers_take_fixed_time_and_bytes_over_bandwidth():
    transfer = {"fixed_s": 7 * NS, "to_device_bytes_per_s": 1e9, "from_device_bytes_per_s": 2e9}
    clock = DeviceClock(device(transfer=transfer), bytes_there=20, bytes_back=30)
    times = clock.admit(0, 2)
    assert times.start_ns == 40 + 7
    assert times.finish_ns == 47 + 110 + 30 + 7
    assert clock.admit(0, 1).start_ns == 60 + 7, "the link is held while bytes go over it, not for the fixed time"


def test_the_description_may_say_how_large_numbers_are_on_the_link():
    transfer = {"to_device_bytes_per_s": 1e9, "value_bytes": 2}
    clock = DeviceClock(device(transfer=transfer), values_there=16, bytes_there=64)
    assert clock.admit(0, 1).start_ns == 32


def test_padding_is_transferred_too():
    transfer = {"to_device_bytes_per_s": 1e9}
    clock = DeviceClock(device(transfer=transfer, batch={"rows": 10, "fixed": True}), bytes_there=3)
    assert clock.admit(0, 1).start_ns == 30


def test_a_slow_link_is_what_limits():
    clock = DeviceClock(device(interval=1, transfer={"to_device_bytes_per_s": 1e9}), bytes_there=50)
    assert admitted(clock, *[(0, 1)] * 100)[-1].finish_ns == 100 * 50 + 100


def test_each_device_has_a_link_of_its_own():
    clock = DeviceClock(device(interval=1, devices=2, transfer={"to_device_bytes_per_s": 1e9}), bytes_there=50)
    assert admitted(clock, *[(0, 1)] * 100)[-1].finish_ns == 50 * 50 + 100


def test_a_short_request_overtakes_a_long_one_on_the_way_back():
    clock = DeviceClock(device(kernels=2, transfer={"from_device_bytes_per_s": 1e9}), bytes_back=5)
    long, short = admitted(clock, (0, 100), (0, 1))
    assert short.finish_ns == 105
    assert long.finish_ns == 100 + 990 + 500


def test_rounding_does_not_add_up():
    clock = DeviceClock(Device(title="t", clock_mhz=300, latency_cycles=10, initiation_interval_cycles=1))
    assert clock.admit(0, 300_000).finish_ns == round((10 + 299_999) * 1e3 / 300)


def test_what_it_is_busy_with():
    clock = DeviceClock(device(kernels=2))
    admitted(clock, (0, 5), (0, 1))
    assert clock.alone(4) == 130
    assert clock.busy_ns == 100


def test_as_many_requests_as_fill_the_pipeline():
    assert DeviceClock(device()).capacity == 10
    assert DeviceClock(device(latency=15, kernels=2, devices=2)).capacity == 8
    assert DeviceClock(device(latency=0)).capacity == 1


def by_steps(requests, *, latency, interval, kernels, there_ns, back_ns):
    """The same with requests of one row, one event after another in time, and no gaps looked for."""
    link_free, free, done = 0, [0] * kernels, []
    for number, now in enumerate(requests):
        link_free = max(link_free, now) + there_ns
        kernel = free.index(min(free))
        start = max(link_free, free[kernel])
        free[kernel] = start + interval
        done.append((start + latency, number))
    link_free, finished = 0, {}
    for ready, number in sorted(done):
        link_free = max(link_free, ready) + back_ns
        finished[number] = link_free
    return [finished[number] for number in range(len(requests))]


@given(
    gaps=st.lists(st.integers(0, 60), min_size=1, max_size=60),
    latency=st.integers(0, 300),
    interval=st.integers(1, 80),
    kernels=st.integers(1, 4),
    there_ns=st.integers(0, 40),
    back_ns=st.integers(0, 40),
)
def test_it_is_what_a_simulation_gives(gaps, latency, interval, kernels, there_ns, back_ns):
    arrivals = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    transfer = {"to_device_bytes_per_s": 1e9, "from_device_bytes_per_s": 1e9}
    clock = DeviceClock(
        device(latency, interval, kernels=kernels, transfer=transfer), bytes_there=there_ns, bytes_back=back_ns
    )
    times = [clock.admit(now, 1) for now in arrivals]
    expected = by_steps(
        arrivals, latency=latency, interval=interval, kernels=kernels, there_ns=there_ns, back_ns=back_ns
    )
    assert [t.finish_ns for t in times] == expected
    assert all(t.alone_ns == latency + there_ns + back_ns for t in times)


@given(
    requests=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 40)), min_size=1, max_size=40),
    kernels=st.integers(1, 3),
    devices=st.integers(1, 3),
    rows=st.one_of(st.none(), st.integers(1, 16)),
    fixed=st.booleans(),
)
def test_nobody_is_answered_earlier_than_alone_and_nothing_idles(requests, kernels, devices, rows, fixed):
    described = device(
        70, 9, kernels=kernels, devices=devices, batch={"rows": rows, "fixed": fixed and rows is not None},
        transfer={"to_device_bytes_per_s": 1e9, "from_device_bytes_per_s": 5e8},
    )  # fmt: skip
    clock, now, times = DeviceClock(described, bytes_there=2, bytes_back=1), 0, []
    for gap, number in requests:
        now += gap
        found = clock.admit(now, number)
        assert found.finish_ns - now >= found.alone_ns
        assert found.queue_ns == found.finish_ns - now - found.alone_ns
        times.append(found)
    in_a_row = sum(clock.alone_ns(number) for _, number in requests)
    assert max(t.finish_ns for t in times) <= now + in_a_row


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_random_arrivals_wait_as_in_the_formula(load):
    """M/D/1: the mean wait is load x interval / (2 (1 - load))."""
    import random

    interval, clock = 1_000_000, DeviceClock(device(3_000_000, 1_000_000))
    draw, now, waits = random.Random(5), 0.0, []
    for _ in range(100_000):
        now += draw.expovariate(load / interval)
        waits.append(clock.admit(round(now), 1).queue_ns)
    theory = load * interval / (2 * (1 - load))
    tolerance = 0.03 if load < 0.9 else 0.1
    assert math.isclose(sum(waits) / len(waits), theory, rel_tol=tolerance)
