"""Framework overhead: CPU time per module of a job whose modules do nothing."""

from __future__ import annotations

from functools import partial

from benchmarks.graphs import GRAPHS, Graph
from benchmarks.measure import Options, Report, cpu_us, differences, interleaved, run_job
from benchmarks.peers import PEERS, make_functions
from benchmarks.plain_jobs import Load, graph_process
from evtfw.observe.timing import TimingObserver

TARGETS_US = {"chain of 10": 0.15, "10 independent + join": 0.15, "DAG of 100": 0.10}
GET_PUT_TARGET_US = 0.3
TIMING_TARGET_US = 0.12
MODULE_CALLS = 2_000_000
ROUNDS = 7
PEER_ROUNDS = 3


def measure(options: Options) -> Report:
    report = Report("framework overhead, one thread, one stream")
    report.note(
        "CPU time of the whole process from the first event to the last, source, event accounting and the watching "
        "main thread included, divided by events and modules. Nothing is subtracted."
    )
    report.note("get + put: each module reads one product and puts one; the first ones read a column of the source.")
    report.note("timing adds: the same job with a TimingObserver, minus without, round by round.")
    for name, graph in GRAPHS.items():
        _measure_evtfw(report, name, graph, options)
        _measure_peers(report, name, graph, options)
    return report


def _measure_evtfw(report: Report, name: str, graph: Graph, options: Options) -> None:
    jobs = {
        "no-op": partial(_job_us, graph, "no-op", options),
        "get + put": partial(_job_us, graph, "get + put", options),
        "no-op, timed": partial(_job_us, graph, "no-op", options, timed=True),
    }
    us = interleaved(jobs, options.rounds or ROUNDS)
    report.add(name, "evtfw, no-op", us["no-op"], "µs", target=TARGETS_US[name])
    report.add(name, "evtfw, get + put", us["get + put"], "µs", target=GET_PUT_TARGET_US)
    report.add(name, "evtfw, timing adds", differences(us["no-op, timed"], us["no-op"]), "µs", target=TIMING_TARGET_US)


def _measure_peers(report: Report, name: str, graph: Graph, options: Options) -> None:
    cases: list[tuple[str, Load]] = [("bare loop", "get + put"), *((peer, "no-op") for peer in PEERS)]
    peers = {f"{peer}, {load}": partial(_peer_us, peer, graph, load, options) for peer, load in cases}
    for label, us in interleaved(peers, min(options.rounds or PEER_ROUNDS, PEER_ROUNDS)).items():
        report.add(name, label, us, "µs")


def _job_us(graph: Graph, load: Load, options: Options, *, timed: bool = False) -> float:
    events = options.events(MODULE_CALLS // len(graph))
    observers = [TimingObserver()] if timed else []
    result = run_job(graph_process(graph, events, load), *observers)
    return result.cpu_s * 1e6 / (events * len(graph))


def _peer_us(peer: str, graph: Graph, load: Load, options: Options) -> float:
    run, calls = PEERS[peer]
    events = options.events(calls // len(graph))
    functions = make_functions(graph, load)
    return cpu_us(lambda: run(functions, graph, events)) / (events * len(graph))
