"""The real command with the real client of Triton."""

import contextlib
import gc
import json
import os
import queue
import shutil
import signal
import subprocess
import urllib.request

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton

from evtfw.cli.tuning import settle_collector, tune_grpc
from tests.conftest import evtfw_command

MOCK = "mock:rows?inputs=x:float32[?,1]&outputs=y:float32[?,1]"


class Served:
    def __init__(self, process):
        self.process = process
        self.address = ""
        self.output = ""

    def wait_until_ready(self):
        line = self.process.stdout.readline()
        assert line.startswith("serving gRPC on "), line + self.process.stderr.read()
        self.address = line.split()[-1]

    def client(self, **settings):
        return triton.InferenceServerClient(self.address, **settings)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.output, self.errors = self.process.stdout.read(), self.process.stderr.read()
        return self.process.wait(60)


@pytest.fixture
def serve(tmp_path):
    """Start the command: ``serve("--model", …)`` gives it when it is ready."""
    with contextlib.ExitStack() as stack:

        def start(*words, is_ready=True, **settings):
            process = stack.enter_context(
                subprocess.Popen(
                    [*evtfw_command(), "serve", "--grpc", "127.0.0.1:0", *map(str, words)],
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    **settings,
                )
            )
            stack.callback(process.kill)
            served = Served(process)
            if is_ready:
                served.wait_until_ready()
            return served

        yield start


def page(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return answer.read().decode()


def infer(client, name, inputs, **options):
    tensors = []
    for key, array in inputs.items():
        tensor = triton.InferInput(key, array.shape, "FP32")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return client.infer(name, tensors, **options)


def test_a_triton_client_is_served_and_the_end_is_told(serve, tmp_path):
    served = serve(
        "--model", "toptag=cpu:toptag", "--metrics", "127.0.0.1:0", "--ready-file", "ready", "--set", "max_batch=16"
    )
    known = json.loads((tmp_path / "ready").read_text())
    assert known["grpc"] == served.address
    with served.client() as client:
        assert client.is_server_ready()
        assert client.get_model_config("toptag").config.max_batch_size == 16
        reply = infer(client, "toptag", {"image": np.zeros((2, 64, 64, 1), np.float32)})
        assert reply.as_numpy("probability").shape == (2, 2)
        assert client.get_inference_statistics("toptag").model_stats[0].inference_count == 2
    assert 'evtfw_inferences_total{model="toptag",version="1"} 2.0' in page(known["metrics"])
    assert served.end() == 143
    assert "image: float32" in served.output
    assert "requests in flight are being finished" in served.errors
    assert served.output.splitlines()[-1].split()[:5] == ["toptag", "1", "1", "0", "0"]


def test_requests_in_flight_are_finished(serve, tmp_path):
    url = "sim:slow?latency_ms=1000&inputs=x:float32[?,1]&outputs=y:float32[?,1]"
    served = serve("--model", f"slow={url}", "--metrics", "127.0.0.1:0", "--ready-file", "ready")
    metrics = json.loads((tmp_path / "ready").read_text())["metrics"]
    with served.client() as client:
        ended = queue.SimpleQueue()
        tensor = triton.InferInput("x", (1, 1), "FP32")
        tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
        client.async_infer("slow", [tensor], lambda result, error: ended.put((result, error)))
        while 'evtfw_executions_in_flight{model="slow",version="1"} 1.0' not in page(metrics):
            assert ended.empty()
        assert served.end(signal.SIGINT) == 130
        result, error = ended.get(timeout=30)
        assert error is None
        assert result.as_numpy("y").tolist() == [[0]]


def test_a_repository_is_served_and_models_are_loaded_only_if_that_is_allowed(serve, tmp_path):
    folder = tmp_path / "models" / "rows"
    (folder / "1").mkdir(parents=True)
    url = f'parameters {{ key: "url" value {{ string_value: "{MOCK}" }} }}'
    (folder / "config.pbtxt").write_text(f'backend: "evtfw" {url} optimization {{ priority: 1 }}')
    served = serve("--model-repository", "models", "--allow-load")
    with served.client() as client:
        client.unload_model("rows")
        assert not client.is_model_ready("rows")
        client.load_model("rows")
        assert infer(client, "rows", {"x": np.ones((1, 1), np.float32)}).as_numpy("y").tolist() == [[0]]
        for name in ("../rows", "a\0b"):
            with pytest.raises(triton.InferenceServerException, match="INVALID_ARGUMENT"):
                client.load_model(name)
    assert served.end() == 143
    assert "optimization has no effect in evtfw" in " ".join(served.errors.split())
    refusing = serve("--model-repository", "models")
    with refusing.client() as client, pytest.raises(triton.InferenceServerException):
        client.unload_model("rows")


def test_a_token_is_asked_for(serve, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    served = serve("--model", f"rows={MOCK}", "--token-file", "token")
    with served.client() as client:
        with pytest.raises(triton.InferenceServerException, match="UNAUTHENTICATED"):
            client.is_server_live()
        assert client.is_server_live(headers={"authorization": "Bearer secret"})


def test_connections_are_encrypted_with_a_certificate(serve, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command to make a certificate with")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (tmp_path / "token").write_text("secret")
    security = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    served = serve("--model", f"rows={MOCK}", "--grpc", "127.0.0.1:0", *security, "--token-file", "token")
    address = f"localhost:{served.address.rpartition(':')[2]}"
    trusted = {"ssl": True, "root_certificates": str(tmp_path / "cert.pem")}
    with triton.InferenceServerClient(address, **trusted) as client:
        assert client.is_server_live(headers={"authorization": "Bearer secret"})
        with pytest.raises(triton.InferenceServerException, match="UNAUTHENTICATED"):
            client.is_server_live()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grpc", "0.0.0.0:0", "--model", "m=mock:"], "'0.0.0.0:0' can be reached from other machines"),
        (["--metrics", "0.0.0.0:0", "--model", "m=mock:"], "'0.0.0.0:0' can be reached from other machines"),
        ([], "there is nothing to serve"),
        (["--model", "mock:x"], "write NAME=URL"),
        (["--model", "m=mcok:x"], "did you mean 'mock'"),
        (["--model", "../m=mock:x"], "is no name of a model"),
        (["--model", "m=mock:x", "--set", "max_bach=2"], "did you mean 'max_batch'"),
        (["--model", "m=mock:x", "--set", "n.max_batch=2"], "there is no --model 'n'"),
        (["--model", "m=mock:x", "--set", "max_batch=-2"], "'-2' is no such value"),
        (["--model-repository", "nothing"], "there is no model repository nothing"),
        (["--model", "m=mock:x", "--tls-cert", "CERT"], "TLS needs both a certificate file and its key file"),
    ],
)
def test_mistakes_end_with_the_code_for_a_wrong_configuration(evtfw, tmp_path, words, message):
    (tmp_path / "CERT").write_text("")
    done = evtfw("serve", *words)
    assert done.returncode == 10
    assert message in " ".join(done.stderr.split())


def test_a_backend_that_cannot_serve_ends_with_the_code_for_external_work(evtfw):
    done = evtfw("serve", "--model", "m=mock:x?open=fail", "--grpc", "127.0.0.1:0")
    assert done.returncode == 50
    assert "not reachable" in done.stderr


def test_it_ends_when_its_standard_input_closes(serve):
    served = serve("--model", f"rows={MOCK}", "--until-stdin-closes", stdin=subprocess.PIPE)
    served.process.stdin.close()
    assert served.process.wait(60) == 0


def test_it_ends_if_its_parent_is_another(serve):
    served = serve("--model", f"rows={MOCK}", "--parent-pid", os.getpid())
    assert psutil.Process(served.process.pid).is_running()
    orphan = serve("--model", f"rows={MOCK}", "--parent-pid", 1)
    assert orphan.process.wait(60) == 0


def test_what_the_user_set_for_grpc_is_kept(monkeypatch):
    monkeypatch.setenv("GRPC_EXPERIMENTS", "mine")
    tune_grpc()
    assert os.environ["GRPC_EXPERIMENTS"] == "mine"
    monkeypatch.delenv("GRPC_EXPERIMENTS")
    tune_grpc()
    assert os.environ["GRPC_EXPERIMENTS"] == "-event_engine_listener"


def test_the_collector_leaves_alone_what_is_there_at_the_start():
    before = gc.get_threshold()
    try:
        settle_collector()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() > before
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
