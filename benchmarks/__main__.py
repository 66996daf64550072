"""``python -m benchmarks NAME``: measure, compare with the targets, print a table."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.measure import Options
from benchmarks.table import machine, show

BENCHMARKS = {
    "overhead": "framework CPU per module, beside Dask, asyncio, futures, thepipe and the bare loop",
    "external_call": "framework CPU per external call",
    "hiding": "throughput while a service takes 10 ms, as a share of the ideal",
    "toptag": "the whole job against a hand-written script and against onnxruntime alone",
    "bulks": "CPU of the jet modules, event by event and several at once",
    "memory": "memory over 100 000 events",
    "startup": "time to the first event against importing the job's dependencies",
    "threads": "8 threads against 2, and idle threads",
    "switch_interval": "the interpreter's switch interval: throughput against latency",
    "triton_client": "client CPU per request to a real tritonserver, beside bare tritonclient",
    "remote_job": "a job on a real tritonserver against perf_analyzer's own maximum",
    "hiding_remote": "ordinary modules beside a remote service of 50 ms, against the same job without it",
    "serve": "evtfw serve against tritonserver's python backend, driven by perf_analyzer",
    "overload": "goodput of evtfw serve at five times its capacity",
    "failover": "a job while one of its two servers is killed, or stopped",
    "many_calls": "memory of client and server over 100 000 calls",
    "emulator_mlp": "ap_fixed networks beside hls4ml's compiled emulation",
    "emulator_resnet50": "ResNet-50 in fixed8 and msfp against float32",
    "emulator_trees": "boosted trees in fixed point against conifer's C++",
    "emulator_cost": "cycles, DSPs, LUTs and FFs of emulated models against published designs",
    "emulator_clock": "an emulated device that keeps its pace, beside the formulas of queues",
}

QUIET_LOAD = 0.5
WIDTH = 120
"""Columns where there is no terminal to ask."""


class _Command(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Benchmarks"):
            formatter.write_dl([*BENCHMARKS.items(), ("all", "all of them, one after another")])


@click.command(cls=_Command)
@click.argument("names", nargs=-1, required=True, type=click.Choice([*BENCHMARKS, "all"]), metavar="NAME...")
@click.option(
    "--rounds", type=click.IntRange(1), help="how often candidates take turns; default: enough for a quiet machine"
)
@click.option("--scale", type=click.FloatRange(0, min_open=True), default=1.0, help="factor on the numbers of events")
@click.option("--files", multiple=True, help="input of the whole job; may be repeated; default: the shipped sample")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="write all samples to a file"
)
def main(names: tuple[str, ...], json_file: Path | None, **chosen: Any) -> None:
    """Measure evtfw and compare with its targets. Exit code 1 if one is missed."""
    options = Options(**chosen)
    busy_cores = os.getloadavg()[0]
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if busy_cores > QUIET_LOAD:
        console.print(
            f"the machine is busy (load {busy_cores:.1f}): rates and ratios of rates mean little", style="yellow"
        )
    reports = {}
    for name in BENCHMARKS if "all" in names else names:
        with console.status(f"{name}: measuring"):
            report = importlib.import_module(f"benchmarks.{name}").measure(options)
        show(name, report, console)
        reports[name] = report
        if json_file is not None:
            found = {name: report.to_dict() for name, report in reports.items()}
            json_file.write_text(json.dumps({"machine": machine(), "benchmarks": found}, indent=1))
    sys.exit(not all(report.passed for report in reports.values()))


if __name__ == "__main__":
    main()
