"""What the user of the real command sees: exit code and terminal text."""

import pytest

from tests.faults import lies
from tests.faults.conftest import url_of
from tests.faults.liar import LiarProcess
from tests.faults.proxy import reserved_port

JOB = '''
import numpy as np

from evtfw import Arguments, ExternalWorkModule, Input, Output, Parameter, Path, Process
from evtfw.external.contract import Backend
from evtfw.external.fallback import fallback
from evtfw.testing import ListSource


class Ask(ExternalWorkModule):
    """Sends x to the backend."""

    backend = Parameter[Backend]("asked")
    x = Input[object]("float32 [n, 4]", default="source:x")
    y = Output[object]("float32 [n, 4]")

    def acquire(self, event, done):
        self.backend.submit({"x": event[self.x]}, done)

    def produce(self, event, reply):
        event[self.y] = reply["y"]


class Args(Arguments):
    """Arguments."""

    url: str
    second: str = ""


args = Args.parse()
process = Process("FAULTS")
process.source = ListSource.of([{"x": np.full((1, 4), n, np.float32)} for n in range(20)])
process.ask = Ask(backend=fallback(args.url, args.second), timeout_s=1)
process.path = Path(process.ask)
'''


@pytest.fixture
def run(evtfw, tmp_path):
    (tmp_path / "job.py").write_text(JOB)

    def run(url, second="", *words):
        return evtfw("run", "job.py", "-s", "2", "-t", "1", *words, "--", "--url", url, "--second", second, timeout=30)

    return run


def words(text):
    """The text without the terminal's line breaks."""
    return " ".join(text.split())


def test_row_2_the_server_dies(run):
    with LiarProcess(dies_at=4) as victim:
        done = run(victim.url())
    assert done.returncode == 50
    assert victim.address in words(done.stderr)
    assert "Traceback" not in done.stderr
    assert "passed" in done.stdout


def test_row_7_wrong_port(run):
    with reserved_port() as port:
        url = f"triton+grpc://127.0.0.1:{port.getsockname()[1]}/double"
        done = run(url)
    assert done.returncode == 50
    assert url in words(done.stderr)
    assert "Traceback" not in done.stderr


def test_row_7_unknown_model(run, liar):
    done = run(liar.url("doubel"))
    assert done.returncode == 50
    assert f"{liar.url('doubel')}: the server has no model 'doubel'; did you mean 'double'?" in words(done.stderr)


def test_row_1_the_server_dies_and_another_serves(run, liar):
    with LiarProcess(dies_at=4) as victim:
        done = run(url_of(victim, liar))
    assert done.returncode == 0, done.stderr
    assert "20 passed" in words(done.stdout)


def test_row_10_the_model_is_unloaded_and_the_other_choice_serves(run, liar, other):
    liar.lies = {4: lies.Then(lambda: liar.unload("double"))}
    done = run(liar.url(), other.url())
    assert done.returncode == 0, done.stderr
    assert f"its requests go to {other.url()}" in words(done.stderr)
    assert "20 passed" in words(done.stdout)


def test_row_11_a_reply_that_does_not_fit(run, liar):
    liar.lies = {3: lies.wrong_dtype}
    done = run(liar.url())
    assert done.returncode == 50
    assert "output 'y': expected float32 [?, 4], got float64" in words(done.stderr)
    assert "module 'ask'" in words(done.stderr)
