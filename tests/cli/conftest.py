"""A small configuration to try commands on."""

import sys

import pytest

JOB = '''"""A tiny job."""

from evtfw import Arguments, Filter, Input, Output, Parameter, Path, Process, Producer
from evtfw.io.empty_source import EmptySource


class Maker(Producer):
    """Makes a number."""

    scale = Parameter[float]("factor", default=2.0, unit="GeV", gt=0)
    made = Output[float]("a number", unit="GeV")

    def produce(self, event):
        event[self.made] = event.index * self.scale


class Cut(Filter):
    """Keeps every third event."""

    value = Input[float]("number")

    def filter(self, event):
        return event[self.value] % 3 == 0


class Args(Arguments):
    """Arguments of the tiny job."""

    events: int = 30


process = Process("TINY")
process.source = EmptySource(events=Args.parse().events)
process.maker = Maker(scale=1.0)
process.cut = Cut(value="maker")
process.path = Path(process.maker, process.cut)
'''


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The configuration ``job.py`` in the current folder, an empty one."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "job.py"
    file.write_text(JOB)
    return file


@pytest.fixture
def execute(monkeypatch, capsys):
    """Run the command in this process: gives exit code, standard output and standard error."""
    from evtfw.cli import main

    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*words):
        modules = set(sys.modules)
        interval = sys.getswitchinterval()
        try:
            code = main.execute([str(word) for word in words])
        finally:
            sys.setswitchinterval(interval)
            for name in set(sys.modules) - modules:
                if name in ("job", "expanded", "other"):
                    del sys.modules[name]
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
