"""What tests of all rooms share."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import hypothesis
import pytest

collect_ignore_glob = ["*/data/*"]  # how test data were made; it needs what only their makers have

REPOSITORY = Path(__file__).parent.parent

hypothesis.settings.register_profile("evtfw", deadline=None)  # how long an example takes is the machine's business
hypothesis.settings.load_profile("evtfw")


@pytest.fixture
def evtfw(tmp_path):
    """Run the installed command in an empty folder: ``evtfw("run", "job.py")`` gives the ended process."""

    def run(*words, cwd=tmp_path, timeout=120, **settings):
        command = [*evtfw_command(), *map(str, words)]
        return subprocess.run(
            command, check=False, cwd=cwd, capture_output=True, text=True, timeout=timeout, **settings
        )

    return run


def evtfw_command():
    """The words that start the command of this environment."""
    script = Path(sysconfig.get_path("scripts")) / "evtfw"
    return [str(script)] if script.exists() else [sys.executable, "-c", "from evtfw.cli.main import main; main()"]


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    """Output does not depend on the terminal that the tests run in."""
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", os.environ.get("TERM", "dumb"))
