"""A job with two servers, one of which is killed or stopped on the way: what is lost, and how long it takes."""

from __future__ import annotations

import os
import signal
from functools import partial

from benchmarks.measure import Options, Report, differences, interleaved, run_job
from benchmarks.servers import Ask, EvtfwServe
from evtfw import Event, JobResult, Parameter, Path, Process, Producer
from evtfw.io.empty_source import EmptySource

EVENTS = 3000
LATENCY_MS = 10
DEADLINE_S = 2.0
THREADS, STREAMS = 2, 16
ROUNDS = 3
DEAD_TARGET_S, HUNG_TARGET_S = 1.0, DEADLINE_S + 0.5
MODEL = f"m=sim:m?latency_ms={LATENCY_MS}&servers=64&inputs=x:float32[?,4]&outputs=y:float32[?,4]"


class Disturb(Producer):
    """Sends a signal to a process at one event."""

    pid = Parameter[int]("the process; 0 for none")
    number = Parameter[int]("of the signal")
    at_event = Parameter[int]("index of the event")

    def produce(self, event: Event) -> None:
        if self.pid and event.index == self.at_event:
            os.kill(self.pid, self.number)


def measure(options: Options) -> Report:
    events = options.events(EVENTS)
    report = Report(f"failover: {events} events, {LATENCY_MS} ms service, two servers, one disturbed after a third")
    candidates = {
        "undisturbed": partial(_run, events, 0),
        "killed": partial(_run, events, signal.SIGKILL),
        "stopped": partial(_run, events, signal.SIGSTOP),
    }
    found = interleaved(candidates, options.rounds or ROUNDS)
    walls = {name: [result.wall_s for result in results] for name, results in found.items()}
    for name, target_s in (("killed", DEAD_TARGET_S), ("stopped", HUNG_TARGET_S)):
        extra_s = differences(walls[name], walls["undisturbed"])
        report.add("extra time", f"one server {name}", extra_s, "s", target=target_s)
        lost = [float(events - result.fates["passed"]) for result in found[name]]
        report.add("events lost, failed or repeated", f"one server {name}", lost, "", target=0.0)
    report.add("job", "undisturbed", walls["undisturbed"], "s")
    report.note(f"Deadline of a request: {DEADLINE_S:g} s. Servers: evtfw serve with a simulated model, own processes.")
    return report


def _run(events: int, number: int) -> JobResult:
    with EvtfwServe(["--model", MODEL]) as first, EvtfwServe(["--model", MODEL]) as second:
        process = Process("FAILOVER")
        process.source = EmptySource(events=events)
        process.disturb = Disturb(pid=first.process.pid if number else 0, number=int(number), at_event=events // 3)
        process.ask = Ask(backend=f"triton+grpc://{first.address},{second.address}/m", values=4, timeout_s=DEADLINE_S)
        process.path = Path(process.disturb, process.ask)
        try:
            return run_job(process, threads=THREADS, streams=STREAMS)
        finally:
            if number == signal.SIGSTOP:
                first.process.send_signal(signal.SIGCONT)
