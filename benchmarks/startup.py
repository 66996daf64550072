"""Start-up: from the shell to the first event of configs/toptag.py, against importing the libraries that it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Options, Report, interleaved, ratios
from benchmarks.toptag_runs import EVTFW

CONFIGURATION = Path(__file__).resolve().with_name("first_event.py")
TARGET = 1.5
ROUNDS = 11
IMPORT = "import sys, time, importlib; list(map(importlib.import_module, sys.argv[1:])); print(time.monotonic())"


def measure(options: Options) -> Report:
    report = Report("start-up of configs/toptag.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _first_event_s(folder)  # compiles all Python files, as an installation does
        modules = json.loads((folder / "first.json").read_text())["modules"]
        _import_s(folder, modules)
        seconds = interleaved(
            {"evtfw": partial(_first_event_s, folder), "imports": partial(_import_s, folder, modules)},
            options.rounds or ROUNDS,
        )
    report.add("from the shell", "to the first event", seconds["evtfw"], "s")
    report.add("from the shell", f"to its {len(modules)} library modules imported", seconds["imports"], "s")
    report.add("ratio", "first event / imports", ratios(seconds["evtfw"], seconds["imports"]), "", target=TARGET)
    report.note(
        "Both from the start of a new interpreter. The second imports, in the same order, the modules of other "
        "packages that the job had imported when its first event came; nothing of evtfw. Python files are "
        "compiled beforehand."
    )
    return report


def _first_event_s(folder: Path) -> float:
    outputs = ["--output", str(folder / "toptag.root"), "--histograms", str(folder / "histograms.root")]
    start_s = time.monotonic()  # of the whole system, so the job's time can be compared
    _run(folder, [*EVTFW, "run", str(CONFIGURATION), "-n", "1", "--quiet", "--", *outputs])
    first_s: float = json.loads((folder / "first.json").read_text())["time_s"]
    return first_s - start_s


def _import_s(folder: Path, modules: Sequence[str]) -> float:
    start_s = time.monotonic()
    return float(_run(folder, [sys.executable, "-c", IMPORT, *modules])) - start_s


def _run(folder: Path, command: list[str]) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "cache"), "EVTFW_FIRST_EVENT": str(folder / "first.json")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
