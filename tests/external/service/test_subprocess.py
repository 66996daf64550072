import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from evtfw.core.clock import RealClock
from evtfw.core.errors import ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.contract import Recipe
from evtfw.external.service.subprocess import ServeBackend, serve
from tests.external.conftest import submit

MOCK = "mock:rows?inputs=x:float32[?,1]&outputs=x:float32[?,1]"


@pytest.fixture
def real_context():
    return JobContext(clock=RealClock(), threads=1, streams=4, say=lambda line: None)


def test_a_process_of_its_own_answers_and_ends_with_the_backend(real_context):
    backend = serve(f"rows={MOCK}", options=("queue_size=7",)).make()
    backend.open(real_context)
    try:
        process = psutil.Process(backend.pid)
        assert backend.describe().inputs[0].name == "x"
        assert backend.local_threads == 1
        assert "process of its own" in backend.summary
        reply = submit(backend, {"x": np.ones((3, 1), np.float32)}).reply
        assert reply["x"].tolist() == [[0], [0], [0]]
    finally:
        backend.close()
    assert not process.is_running()
    assert "not open" in str(submit(backend, {"x": np.ones((3, 1), np.float32)}).error)


def test_it_ends_with_its_parent_even_if_that_is_killed(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys\n"
        "from evtfw.core.clock import RealClock\n"
        "from evtfw.core.resource import JobContext\n"
        "from evtfw.external.service.subprocess import ServeBackend\n"
        f"backend = ServeBackend({MOCK!r})\n"
        "backend.open(JobContext(RealClock(), 1, 1, print))\n"
        "print(backend.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait(30)
        child.wait(30)
    assert not child.is_running()


def test_what_cannot_start_says_why(real_context):
    with pytest.raises(ServerUnavailable, match=r"did not start: .*not reachable"):
        ServeBackend("mock:x?open=fail").open(real_context)


def test_names_and_urls():
    assert ServeBackend.from_url("serve:toptag=cpu:toptag?threads=2")._model == "cpu:toptag?threads=2"
    assert ServeBackend.from_url("serve:cpu:./my model.onnx?threads=2")._name == "my_model"
    assert isinstance(serve("cpu:toptag"), Recipe)
    with pytest.raises(ValueError, match="no backend for scheme"):
        serve("nothing:x")
    with pytest.raises(ValueError, match="no name of a model"):
        serve("../x=cpu:toptag")
