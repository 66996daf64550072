"""The whole job in processes of its own: by evtfw, by hand, and the network alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evtfw import data

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGURATION = REPOSITORY / "configs" / "toptag.py"
BY_HAND = REPOSITORY / "benchmarks" / "handwritten_toptag.py"
EVTFW = [sys.executable, "-c", "from evtfw.cli.main import main; main()"]


@contextlib.contextmanager
def input_files(chosen: Sequence[str], copies: int = 1) -> Iterator[list[str]]:
    """The chosen files or the shipped sample; for a longer job with copies, as a job refuses the same file twice."""
    files = [Path(file).resolve() for file in chosen] or [data.path("toptag_sample.root")]
    with tempfile.TemporaryDirectory() as folder:
        more = [Path(folder, f"{number}_{file.name}") for number in range(1, copies) for file in files]
        for file, copy in zip(files * (copies - 1), more, strict=True):
            shutil.copyfile(file, copy)
        yield [str(file) for file in (*files, *more)]


def run_evtfw(files: Sequence[str], threads: int, streams: int = 0) -> dict[str, Any]:
    """Run ``evtfw run configs/toptag.py`` as a user would and return its job report, with ``events_per_s`` added.

    The rate does not count the opening of model and files, as that of the others does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--threads", str(threads), "--streams", str(streams), "--report", folder]
        outputs = ["--output", f"{folder}/toptag.root", "--histograms", f"{folder}/histograms.root"]
        _call([*EVTFW, "run", str(CONFIGURATION), *options, "--", "--files", *files, *outputs])
        report = json.loads(Path(folder, "report.json").read_text())
    busy_s = report["time"]["wall_s"] - report["statistics"]["start_s"]
    return {**report, "events_per_s": report["events"]["read"] / busy_s}


def run_by_hand(files: Sequence[str], threads: int) -> dict[str, Any]:
    """Run the hand-written script and return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--threads", str(threads), "--output", f"{folder}/by_hand.root"]
        return _json(_call([sys.executable, str(BY_HAND), *options, "--files", *files]))


def run_network(files: Sequence[str], threads: int, *, jets_per_call: int) -> dict[str, Any]:
    """Run nothing but the network on the same images, see `benchmarks.network_alone`."""
    options = [f"--threads={threads}", f"--jets-per-call={jets_per_call}"]
    return _json(_call([sys.executable, "-m", "benchmarks.network_alone", *options, *files]))


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _call(command: list[str]) -> str:
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
    return ended.stdout
