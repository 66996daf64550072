"""Clients of a device on a virtual clock, and a small model that is exact in any arithmetic."""

import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from evtfw.core.completion import CallbackCompletion
from evtfw.core.resource import JobContext
from evtfw.core.simulation import VirtualClock
from evtfw.external.emulator.backend import FpgaBackend
from evtfw.external.emulator.card import ModelCard, SourceCard
from evtfw.external.emulator.device.presets import NamedDevice
from evtfw.external.onnx_model import _checksum


def write_model(path, *, inputs=3, outputs=2, card=True, device="", arithmetic="ap_fixed"):
    """A dense layer of small whole numbers in float64: the order of sums does not matter."""
    weight = np.random.default_rng(1).integers(-8, 8, (inputs, outputs)).astype(np.float64)
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["wide", "w"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    if card:
        source = SourceCard(file="dense.keras", kind="onnx", sha256="")
        ModelCard(
            name="dense",
            sha256=_checksum(path),
            arithmetic=arithmetic,
            format="ap_fixed<16,6>",
            device=device,
            source=source,
        ).write(path)
    return weight


def opened(path, device, clock=None, *, pace="device", streams=4, **options):
    """A backend with this description, open on a clock."""
    named = NamedDevice("test", device)
    backend = FpgaBackend(str(path), device=named, pace=pace, url=f"fpga:{path}", **options)
    backend.open(JobContext(clock or VirtualClock(), threads=2, streams=streams, say=print))
    return backend


class ClosedLoop:
    """Clients of which each asks again as soon as it was answered."""

    def __init__(self, backend, clock, clients, row):
        self.backend, self.clock, self.row = backend, clock, row
        self.ended_ns, self.latencies_ns, self.times = [], [], []
        for _ in range(clients):
            self.ask()

    def ask(self):
        asked_ns = self.clock.now_ns()

        def ended(reply, error):
            if error is not None:  # it was closed
                return
            self.ended_ns.append(self.clock.now_ns())
            self.latencies_ns.append(self.clock.now_ns() - asked_ns)
            self.times.append(reply.times)
            self.clock.call_later(0.0, self.ask)

        self.backend.submit({"x": self.row}, CallbackCompletion(ended))

    def run(self, seconds):
        limit_ns = self.clock.now_ns() + round(seconds * 1e9)
        while self.clock.advance(limit_ns):
            pass
        self.backend.close()
        return self

    def per_s(self):
        """Rate of replies without the first ones."""
        first = len(self.ended_ns) // 5
        return (len(self.ended_ns) - 1 - first) * 1e9 / (self.ended_ns[-1] - self.ended_ns[first])


def open_loop(backend, clock, rate_per_s, requests, row, seed=1):
    """Ask at random times; return the times of all replies."""
    gaps, times = random.Random(seed), []

    def arrive(left):
        backend.submit({"x": row}, CallbackCompletion(lambda reply, error: times.append(reply.times)))
        if left > 1:
            clock.call_later(gaps.expovariate(rate_per_s), lambda: arrive(left - 1))

    arrive(requests)
    while clock.advance():
        pass
    return times
