"""The whole job against a hand-written script that does the same, and against the network alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from benchmarks.measure import Options, Report, interleaved, ratios
from benchmarks.toptag_runs import input_files, run_by_hand, run_evtfw, run_network

THREADS = 2
COPIES = 3
ROUNDS = 5
BY_HAND_TARGET = 1.0
NETWORK_TARGET = 0.9
CALLS = {"a call per event": 0, "16 jets a call": 16}


def measure(options: Options) -> Report:
    report = Report(f"configs/toptag.py on cpu:toptag, {THREADS} threads")
    with input_files(options.files, max(1, round(COPIES * options.scale))) as files:
        jobs: dict[str, Callable[[], dict[str, Any]]] = {
            "evtfw": partial(run_evtfw, files, THREADS),
            "by hand": partial(run_by_hand, files, THREADS),
            **{name: partial(run_network, files, THREADS, jets_per_call=n) for name, n in CALLS.items()},
        }
        runs = interleaved(jobs, options.rounds or ROUNDS)
    rates = {name: [found["events_per_s"] for found in results] for name, results in runs.items()}
    report.add("events/s", "evtfw run configs/toptag.py", rates["evtfw"], "/s", at_least=True)
    report.add("events/s", "handwritten_toptag.py", rates["by hand"], "/s", at_least=True)
    for name in CALLS:
        report.add("events/s", f"onnxruntime alone, {name}", rates[name], "/s", at_least=True)
    report.add(
        "evtfw / others", "by hand", ratios(rates["evtfw"], rates["by hand"]), "", target=BY_HAND_TARGET, at_least=True
    )
    best = [max(found) for found in zip(*(rates[name] for name in CALLS), strict=True)]
    shares = ratios(rates["evtfw"], best)
    report.add("evtfw / others", "onnxruntime alone, its best", shares, "", target=NETWORK_TARGET, at_least=True)
    _add_stages(report, runs)
    report.note(
        "Processes of their own, the same model, files, cuts and kinds of output. All rates leave out imports and the "
        "opening of model and files; they include writing. onnxruntime alone: bare run() loops in two threads on ready "
        "images, one core each."
    )
    report.note(
        f"{runs['evtfw'][0]['events']['read']} events in each run. evtfw measures its stages per event on one thread; "
        "those of the script are for batches, and its network has all threads."
    )
    return report


def _add_stages(report: Report, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Wall time of each stage per event of the input."""
    for number, module in enumerate(runs["evtfw"][0]["modules"]):
        us = [found["modules"][number]["wall_s"] * 1e6 / found["events"]["read"] for found in runs["evtfw"]]
        if median(us) >= 1:
            report.add("stages, evtfw", module["label"], us, "µs/event")
    for stage in runs["by hand"][0]["stages_s"]:
        us = [found["stages_s"][stage] * 1e6 / found["events"] for found in runs["by hand"]]
        report.add("stages, by hand", stage, us, "µs/event")
