"""A backend that keeps the device's pace, beside the formulas of queues."""

import random
import statistics
import threading

import numpy as np
import pytest

from evtfw.core.clock import RealClock
from evtfw.core.completion import CallbackCompletion
from evtfw.core.simulation import VirtualClock
from evtfw.external.emulator.device.description import Device
from evtfw.external.emulator.device.presets import load_device
from tests.external.emulator.device.queueing import ClosedLoop, open_loop, opened

ROW = np.array([[1, 2, 3]], np.float32)


@pytest.mark.parametrize("clients", [1, 2, 3, 5, 8, 13, 50])
@pytest.mark.parametrize("shares", [{}, {"kernels": 2}, {"devices": 3}], ids=str)
def test_throughput_and_latency_of_clients_that_ask_again(dense, clients, shares):
    latency_s, interval_s = 10e-3, 2e-3
    device = Device(title="t", latency_s=latency_s, initiation_interval_s=interval_s, **shares)
    clock = VirtualClock()
    loop = ClosedLoop(opened(dense, device, clock), clock, clients, ROW).run(seconds=3)
    units = shares.get("kernels", 1) * shares.get("devices", 1)
    per_s = min(clients / latency_s, units / interval_s)
    assert loop.per_s() == pytest.approx(per_s, rel=0.01)
    latencies = np.array(loop.latencies_ns[len(loop.latencies_ns) // 5 :]) * 1e-9
    expected = max(latency_s, clients * interval_s / units)
    assert latencies.mean() == pytest.approx(expected, rel=0.005)
    assert np.quantile(latencies, [0.01, 0.99]) == pytest.approx([expected] * 2, abs=interval_s)


def test_brainwave_serves_one_client_and_many_as_published(dense):
    """1.8 ms and 650 images a second, with the image and its features over the link."""
    clock = VirtualClock()
    device = load_device("brainwave-arria10").device
    one, many = (ClosedLoop(opened(dense, device, clock), clock, clients, ROW).run(3) for clients in (1, 4))
    assert one.per_s() == pytest.approx(1 / 1.82e-3, rel=0.01)
    assert many.per_s() == pytest.approx(650, rel=0.001)


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_random_arrivals_wait_as_in_the_formula(dense, load):
    """M/D/1, through the whole backend; its clock alone is tested more closely."""
    interval_s, clock = 1e-3, VirtualClock()
    backend = opened(dense, Device(title="t", latency_s=5e-3, initiation_interval_s=interval_s), clock)
    times = open_loop(backend, clock, load / interval_s, 6_000, ROW, seed=3)
    waits_s = np.array([t.device_queue_ns for t in times]) * 1e-9
    draw, free_s, now_s, expected = random.Random(3), 0.0, 0.0, []
    for _ in times:  # Lindley's recursion with the same arrivals: random ones scatter more than the 3% asked for
        expected.append(max(0.0, free_s - now_s))
        free_s = max(free_s, now_s) + interval_s
        now_s += draw.expovariate(load / interval_s)
    assert waits_s.mean() == pytest.approx(np.mean(expected), rel=1e-4)
    assert waits_s.mean() == pytest.approx(load * interval_s / (2 * (1 - load)), rel=0.03 if load < 0.9 else 0.1)


def test_an_hour_takes_no_time(dense):
    clock = VirtualClock()
    backend = opened(dense, Device(title="t", latency_s=2.0, initiation_interval_s=1.0), clock)
    loop = ClosedLoop(backend, clock, 5, ROW).run(seconds=3600)
    assert clock.now_ns() == 3600 * 10**9
    assert len(loop.latencies_ns) == pytest.approx(3600, abs=5)
    assert backend.statistics.late == 0


@pytest.mark.parametrize("clients", [1, 5, 20])
def test_a_slow_device_on_the_real_clock(dense, clients):
    """Never earlier than modelled, and by no more later than a machine's timers are."""
    latency_s, interval_s = 0.1, 0.01
    clock = RealClock()
    backend = opened(dense, Device(title="t", latency_s=latency_s, initiation_interval_s=interval_s), clock)
    ended, all_ended = [], threading.Event()

    def ask(left):
        asked_ns = clock.now_ns()

        def answered(reply, error):
            ended.append((clock.now_ns() - asked_ns, reply.times))
            if left:
                ask(left - 1)
            elif len(ended) == clients * 4:
                all_ended.set()

        backend.submit({"x": ROW}, CallbackCompletion(answered))

    for _ in range(clients):
        ask(3)
    assert all_ended.wait(60)
    backend.close()
    assert all(wall_ns >= times.device_ns + times.device_queue_ns for wall_ns, times in ended)
    typical_s = statistics.median(wall_ns for wall_ns, _ in ended[clients:]) * 1e-9
    assert typical_s == pytest.approx(max(latency_s, clients * interval_s), rel=0.1)
