"""A device that keeps its pace: throughput and latency of its clients beside the formulas of queues."""

from __future__ import annotations

import dataclasses
import random
import tempfile
import threading
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Options, Report, interleaved, switch_interval, wall_s
from evtfw import CallbackCompletion
from evtfw.core.clock import RealClock
from evtfw.core.simulation import VirtualClock
from evtfw.external.emulator.device.clock import DeviceClock
from evtfw.external.emulator.device.description import Device
from evtfw.external.emulator.device.presets import load_device
from tests.external.emulator.device.queueing import ClosedLoop, opened, write_model

CLIENTS = (1, 2, 3, 5, 10, 20, 50)
LOADS = (0.3, 0.6, 0.9)
TARGET_PERCENT = 3.0
ARRIVALS = 1_000_000
VIRTUAL_S = 20.0
REAL_S = 4.0
ROUNDS = 5
ROW = np.array([[1, 2, 3]], np.float32)
SLOW = Device(title="slow enough for any machine", latency_s=0.1, initiation_interval_s=0.01)


@dataclasses.dataclass(frozen=True)
class Loop:
    """What clients saw that ask again as soon as they are answered."""

    per_s: float
    latencies_s: np.ndarray

    def deviations(self, clients: int, latency_s: float, interval_s: float) -> dict[str, float]:
        """From min(n / latency, 1 / interval) and max(latency, n * interval), in percent."""
        expected_s = max(latency_s, clients * interval_s)
        middle, high = np.quantile(self.latencies_s, [0.5, 0.9])
        found = {"mean latency": self.latencies_s.mean(), "latency p50": middle, "latency p90": high}
        return {
            "throughput": 100 * abs(self.per_s * expected_s / clients - 1),
            **{name: float(100 * abs(value / expected_s - 1)) for name, value in found.items()},
        }


def measure(options: Options) -> Report:
    report = Report("a device that keeps its pace, beside the queueing formula")
    report.note(
        "Deviation of n clients that ask again when they are answered from min(n / latency, 1 / interval) requests a "
        "second and a latency of max(latency, n x interval); of random arrivals from the mean wait of an M/D/1 queue."
    )
    with tempfile.TemporaryDirectory() as folder, switch_interval(0.0005):
        model = Path(folder) / "dense.onnx"
        write_model(model)
        for name, device in _devices().items():
            _virtual(report, f"{name}, virtual clock", model, device, options)
        _random(report, options)
        _real(report, model, options)
        _hour(report, model, options)
    return report


def _devices() -> dict[str, Device]:
    return {
        "brainwave-arria10": load_device("brainwave-arria10").device,
        "the same, 2 kernels and 2 devices": load_device("brainwave-arria10", {"kernels": "2", "devices": "2"}).device,
    }


def _virtual(report: Report, group: str, model: Path, device: Device, options: Options) -> None:
    worst: dict[str, float] = {}
    for clients in CLIENTS:
        clock = VirtualClock()
        loop = ClosedLoop(opened(model, device, clock), clock, clients, ROW).run(max(1.0, VIRTUAL_S * options.scale))
        seen = Loop(loop.per_s(), np.array(loop.latencies_ns[len(loop.latencies_ns) // 5 :]) * 1e-9)
        latency_s = loop.times[0].device_ns * 1e-9
        interval_s = 1 / device.rows_per_s
        for name, percent in seen.deviations(clients, latency_s, interval_s).items():
            # Clients that do not divide evenly among kernels wait longer in some turns: only their mean is known.
            if device.kernels * device.devices == 1 or name in ("throughput", "mean latency"):
                worst[name] = max(percent, worst.get(name, 0.0))
    for name, percent in worst.items():
        report.add(group, f"{name}, worst of 1 to 50 clients", [percent], "%", target=TARGET_PERCENT)


def _random(report: Report, options: Options) -> None:
    interval_s = 1e-3
    device = Device(title="t", latency_s=3e-3, initiation_interval_s=interval_s)
    for load in LOADS:
        clock, draw, now_ns, waits_ns = DeviceClock(device), random.Random(1), 0.0, 0
        arrivals = options.events(ARRIVALS)
        for _ in range(arrivals):
            now_ns += draw.expovariate(load / interval_s) * 1e9
            waits_ns += clock.admit(round(now_ns), 1).queue_ns
        percent = 100 * abs(waits_ns * 1e-9 / arrivals / (load * interval_s / (2 * (1 - load))) - 1)
        report.add("random arrivals, virtual clock", f"mean wait at load {load}", [percent], "%", target=TARGET_PERCENT)


def _real(report: Report, model: Path, options: Options) -> None:
    candidates = {
        str(clients): partial(real_loop, model, clients, max(0.5, REAL_S * options.scale)) for clients in CLIENTS
    }
    loops = interleaved(candidates, options.rounds or ROUNDS)
    for clients in CLIENTS:
        found = [loop.deviations(clients, 0.1, 0.01) for loop in loops[str(clients)]]
        for name in ("throughput", "latency p50", "latency p90"):
            samples = [one[name] for one in found]
            report.add(f"100 ms, real clock, {clients} clients", name, samples, "%", target=TARGET_PERCENT)


def real_loop(model: Path, clients: int, seconds: float) -> Loop:
    """The clients' view of a slow device on this machine's clock."""
    clock = RealClock()
    backend = opened(model, SLOW, clock)
    ended: list[tuple[int, int]] = []
    left, all_left = [clients], threading.Event()
    stop_ns = clock.now_ns() + round(seconds * 1e9)

    def ask() -> None:
        asked_ns = clock.now_ns()

        def answered(_: object, error: BaseException | None) -> None:
            now_ns = clock.now_ns()
            ended.append((now_ns, now_ns - asked_ns))
            if now_ns < stop_ns and error is None:
                ask()
                return
            left[0] -= 1
            if not left[0]:
                all_left.set()

        backend.submit({"x": ROW}, CallbackCompletion(answered))

    for _ in range(clients):
        ask()
    all_left.wait()
    backend.close()
    first = len(ended) // 5 // clients * clients  # whole turns of all clients: they come in bursts
    last = first + (len(ended) - first - 1) // clients * clients
    span_s = (ended[last][0] - ended[first][0]) * 1e-9
    return Loop((last - first) / span_s, np.array([latency for _, latency in ended[first:]]) * 1e-9)


def _hour(report: Report, model: Path, options: Options) -> None:
    hours = max(1, round(10 * options.scale))
    device = Device(title="t", latency_s=1.8, initiation_interval_s=1.0)

    def run() -> None:
        clock = VirtualClock()
        ClosedLoop(opened(model, device, clock), clock, 8, ROW).run(hours * 3600)

    samples = [wall_s(run) for _ in range(options.rounds or ROUNDS)]
    report.add("a virtual clock", f"{hours} h of a device that takes a request each second", samples, "s")
    per_request_us = [1e6 * seconds / (hours * 3600) for seconds in samples]
    report.add("a virtual clock", "a request, computed and simulated", per_request_us, "µs")
