"""Environments for the peers, made once and shared by all test processes."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL_LIMIT_S = 900


class Unavailable(Exception):
    """A peer cannot be installed or started here; the message is the reason."""


def cache_folder():
    """Return the folder of all peers; wheels depend on the interpreter, so each version has its own."""
    chosen = os.environ.get("EVTFW_PEERS")
    root = Path(chosen) if chosen else Path.home() / ".cache" / "evtfw-peers"
    folder = root / f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def installed(name, make):
    """Return the folder of a peer. ``make(folder)`` fills it, in one process only; another one waits for it.

    Raises:
        Unavailable: ``make`` failed, with its error's last lines.
    """
    folder = cache_folder() / name
    done = folder / "complete"
    if done.exists():
        return folder
    with locked(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                make(folder)
            except (OSError, subprocess.SubprocessError) as error:
                raise Unavailable(f"{name} cannot be installed: {_reason(error)}") from error
            done.touch()
    return folder


@contextlib.contextmanager
def locked(path):
    """Hold a lock between processes; the system gives it back even if this one is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_environment(folder, *requirements):
    """Make a virtual environment with these packages and return its site-packages."""
    _run(sys.executable, "-m", "venv", folder)
    _run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    return site_packages(folder)


def site_packages(folder):
    """Return where a virtual environment has its packages."""
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def download(folder, requirement):
    """Fetch one wheel and return its path."""
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement)
    return next(folder.glob("*.whl"))


def _run(*words):
    # PYTHONPATH and friends are for the tests' own environment
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run(
        [str(word) for word in words],
        check=True,
        capture_output=True,
        text=True,
        timeout=INSTALL_LIMIT_S,
        env=environment,
    )


def _reason(error):
    output = getattr(error, "stderr", None) or str(error)
    lines = [line for line in str(output).splitlines() if line.strip() and "WARNING" not in line]
    return " / ".join(lines[-2:]) or str(error)


@contextlib.contextmanager
def skipped_if_unavailable():
    """Skip the test, or the tests of the fixture, with the reason."""
    try:
        yield
    except Unavailable as error:
        pytest.skip(str(error))
