"""Every shipped configuration runs as it is, and its expanded form to the same result."""

import re

import pytest

from tests.conftest import REPOSITORY

CONFIGS = sorted((REPOSITORY / "configs").glob("*.py"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_a_shipped_configuration_runs(evtfw, config, tmp_path):
    (tmp_path / "expanded").mkdir()
    done = evtfw("run", config, "-n", "20", "-t", "2", "-s", "2")
    assert done.returncode == 0, done.stderr
    dumped = evtfw("dump", config)
    assert dumped.returncode == 0, dumped.stderr
    (tmp_path / "expanded" / "job.py").write_text(dumped.stdout)
    again = evtfw("run", "job.py", "-n", "20", "-t", "2", "-s", "2", cwd=tmp_path / "expanded")
    assert again.returncode == 0, again.stderr
    assert accounting(done.stdout) == accounting(again.stdout)


def accounting(summary):
    """The line of the summary that says what became of the events."""
    return re.search(r".* = \d+ read", summary)[0]
