"""Modelled time of emulated devices stands apart from measured time in summary, report and trace."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from evtfw import ExternalWorkModule, Job, Output, Parameter, Path, Process
from evtfw.core.simulation import SimulatedRuntime
from evtfw.external.contract import Backend, Times
from evtfw.io.empty_source import EmptySource
from evtfw.observe.report import JobRecord, report_dict, write_report
from evtfw.observe.summary import TimingSummary
from evtfw.observe.timing import TimingObserver
from evtfw.observe.trace import TraceObserver
from tests.external.emulator.device.queueing import write_model
from tests.observe.synthetic import record, toptag_info
from tests.observe.test_report import check
from tests.observe.test_trace import load

DEVICE = SimpleNamespace(backend="fpga:toptag", server="", fallback_reason="", device="brainwave-arria10")
PLAIN = SimpleNamespace(backend="cpu:toptag", server="", fallback_reason="")


def replied(*given):
    """Timing of a module that got these replies: provenance, times, wait in ns."""
    observer = TimingObserver()
    observer.begin_job(toptag_info())
    produce = next(node.index for node in toptag_info().nodes if node.phase == "produce")
    for provenance, times, wait_ns in given:
        observer.replied(0, produce, 0, wait_ns, SimpleNamespace(provenance=provenance, times=times))
    observer.end_job(None)
    return observer.timing()


def printed(timing):
    made, text = record(events=50), io.StringIO()
    TimingSummary(made.info, made.result, timing).print(Console(file=text, width=140))
    return text.getvalue()


PACED = replied(
    (DEVICE, Times(compute_ns=400, held_ns=600, device_ns=900, device_queue_ns=100), 1000),
    (DEVICE, Times(compute_ns=4000, late_ns=3000, device_ns=900, device_queue_ns=100), 4000),
    (PLAIN, Times(compute_ns=7), 50),
)


def test_replies_of_a_device_are_summed_apart():
    replies = next(module.replies for module in PACED.modules if module.replies)
    (device,) = replies.devices
    assert (device.name, device.replies, device.late) == ("brainwave-arria10", 2, 1)
    assert (device.mean_device_ns, device.mean_queue_ns, device.mean_wait_ns) == (900, 100, 2500)
    assert device.mean_late_ns == 1500
    assert device.slowdown == 2.5
    served = {server.name: server for server in replies.servers}
    assert served["fpga:toptag"].mean_parts_ns == {"compute": 2200, "held": 300}
    assert served["cpu:toptag"].device is None


def test_the_summary_says_once_that_the_cpu_was_slower():
    text = printed(PACED)
    assert "Emulated device" in text
    assert "modelled" in text
    assert text.count("the CPU took 2.50 times the device's time; 1 of 2 replies came late") == 1


def test_without_a_device_nothing_is_said_of_one():
    text = printed(replied((PLAIN, Times(compute_ns=7), 50)))
    assert "Emulated" not in text
    assert "modelled" not in text


class Ask(ExternalWorkModule):
    """Sends three numbers."""

    backend = Parameter[Backend]("where")
    sum = Output[float]("of the answer")

    def acquire(self, event, done):
        self.backend.submit({"x": np.ones((1, 3), np.float32)}, done)

    def produce(self, event, reply):
        event[self.sum] = float(reply["y"].sum())


@pytest.fixture
def process(tmp_path):
    write_model(tmp_path / "m.onnx")
    process = Process("PACED")
    process.source = EmptySource(events=40)
    process.ask = Ask(
        backend=f"fpga:{tmp_path}/m.onnx?pace=device&device=brainwave-arria10&latency_s=10&initiation_interval_s=5"
    )
    process.path = Path(process.ask)
    process.set_options(threads=2, streams=4)
    return process


def test_a_job_on_a_virtual_clock_keeps_the_pace(process, tmp_path):
    """Three minutes of a device that takes ten seconds, with both times in report and trace."""
    timing, trace = TimingObserver(), TraceObserver(tmp_path / "trace.json")
    runtime = SimulatedRuntime(3)
    job = Job(process, [timing, trace], runtime=runtime)
    result = job.run()
    assert result.events_read == 40
    assert runtime.clock.now_ns() * 1e-9 == pytest.approx(10 + 39 * 5, rel=1e-3)
    record = JobRecord(job.info, result, timing.timing())
    report = report_dict(record)
    (server,) = next(module for module in report["modules"] if module["label"] == "ask")["servers"]
    device = server["emulated_device"]
    assert device["modelled_device_s"] == pytest.approx(10, rel=1e-3)
    assert device["modelled_queue_s"] == pytest.approx(10, rel=0.1)
    assert device["late"] == 0
    page = write_report(tmp_path / "report", record).read_text()
    check(page)
    assert "Device time, modelled" in page
    assert_trace(load(tmp_path / "trace.json"))


def assert_trace(entries):
    groups = {entry["args"]["name"]: entry["pid"] for entry in entries if entry["name"] == "process_name"}
    group = groups["emulated devices: modelled time"]
    assert not [e for e in entries if e.get("cat") == "external" and e["pid"] == group]
    modelled = [e for e in entries if e.get("cat") == "modelled"]
    assert {e["pid"] for e in modelled} == {group}
    begins, ends = ([e for e in modelled if e["ph"] == phase and e["name"] == "ask: device"] for phase in "be")
    lengths = {e["id"]: e["ts"] for e in ends}
    assert [lengths[e["id"]] - e["ts"] for e in begins] == pytest.approx([10e6] * 40, rel=1e-3)
    assert json.dumps(begins[0]["args"])
