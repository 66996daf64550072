"""Clients that load and unload models while others use them: Triton's own client, and ours."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from evtfw.core.clock import RealClock
from evtfw.core.errors import ConfigurationError
from evtfw.core.resource import JobContext
from evtfw.external.errors import ModelNotFound
from evtfw.external.fallback import fallback
from evtfw.external.mock import MockBackend
from evtfw.external.service.endpoint import Endpoint
from evtfw.external.service.model import HostedModel
from evtfw.external.service.repository import ModelRepository
from evtfw.external.service.service import Service
from evtfw.external.triton.backend import TritonClient
from tests.external.conftest import submit
from tests.external.service.endpoint.conftest import LIMIT_S, ROWS, ByHand, client_of, double, tensor, values
from tests.external.service.wire.messages import request

INFER = "/inference.GRPCInferenceService/ModelInfer"


class Loader:
    """A repository whose models the test makes: ``rows`` with the next of ``backends`` as the next version."""

    def __init__(self, *backends):
        self.backends = list(backends)
        self.version = 0
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def load(self, name):
        self.entered.set()
        assert self.go_on.wait(LIMIT_S)
        if name != "rows":
            raise ModelNotFound(f"there is no model '{name}' in the repository")
        backend = self.backends.pop(0) if self.backends else MockBackend(double, description=ROWS)
        if isinstance(backend, Exception):
            raise backend
        self.version += 1
        return [HostedModel("rows", backend, version=str(self.version))]


@contextlib.contextmanager
def serving(loader):
    with Service([], loader=loader) as service, Endpoint(service, may_load=True) as endpoint:
        yield endpoint


def message():
    return request({"x": values()}, model="rows").SerializeToString()


def states(client):
    return {(model.name, model.version): model.state for model in client.get_model_repository_index().models}


def refusal(call, *arguments):
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments)
    return caught.value.status().removeprefix("StatusCode."), str(caught.value)


def test_a_model_is_there_from_loading_to_unloading():
    with serving(Loader()) as endpoint, client_of(endpoint) as client:
        assert client.is_server_ready()
        assert refusal(client.infer, "rows", [tensor(values())])[0] == "NOT_FOUND"
        client.load_model("rows")
        assert states(client)["rows", "1"] == "READY"
        assert client.infer("rows", [tensor(values())]).as_numpy("y").tolist() == (2 * values()).tolist()
        client.unload_model("rows")
        assert not client.is_model_ready("rows")
        assert refusal(client.infer, "rows", [tensor(values())])[0] == "NOT_FOUND"
        assert refusal(client.unload_model, "rows")[0] == "NOT_FOUND"
        assert refusal(client.load_model, "cols")[0] == "NOT_FOUND"


def test_a_model_is_loaded_as_the_repository_has_it():
    loader = Loader()
    with serving(loader) as endpoint, client_of(endpoint) as client:
        code, says = refusal(lambda: client.load_model("rows", config='{"max_batch_size": 1}'))
        assert code == "INVALID_ARGUMENT"
        assert "parameters config" in says
    assert loader.version == 0


def test_loading_again_takes_the_new_version_and_finishes_what_the_old_one_has():
    old = ByHand()
    with serving(Loader(old)) as endpoint, client_of(endpoint) as client, ThreadPoolExecutor() as pool:
        client.load_model("rows")
        with grpc.insecure_channel(endpoint.address) as channel:
            waiting = channel.unary_unary(INFER).future(message())
            pending = old.next()
            loaded = pool.submit(client.load_model, "rows")
            while client.infer("rows", [tensor(values())], client_timeout=LIMIT_S).get_response().model_version != "2":
                assert not loaded.done()
            pending.resolve()
            assert waiting.result(timeout=LIMIT_S)
            loaded.result(LIMIT_S)
        assert states(client) == {("rows", "2"): "READY"}


def test_if_the_new_version_cannot_be_loaded_the_old_one_goes_on():
    hidden = ConfigurationError("/secret/rows/2/model.onnx is damaged")
    unopened = MockBackend.from_url("mock:rows?open=fail")
    loader = Loader(MockBackend(double, description=ROWS), hidden, unopened)
    with serving(loader) as endpoint, client_of(endpoint) as client:
        client.load_model("rows")
        code, says = refusal(client.load_model, "rows")
        assert code == "INTERNAL"
        assert "secret" not in says
        assert refusal(client.load_model, "rows")[0] == "UNAVAILABLE"
        assert client.infer("rows", [tensor(values())]).get_response().model_version == "1"


def test_slow_loading_keeps_nobody_waiting():
    loader = Loader()
    with serving(loader) as endpoint, client_of(endpoint) as client, ThreadPoolExecutor() as pool:
        client.load_model("rows")
        loader.entered.clear()
        loader.go_on.clear()
        loading = [pool.submit(client.load_model, "rows") for _ in range(3)]
        assert loader.entered.wait(LIMIT_S)
        for _ in range(20):
            assert client.is_server_live(client_timeout=LIMIT_S)
            client.infer("rows", [tensor(values())], client_timeout=LIMIT_S)
        assert not any(each.done() for each in loading)
        loader.go_on.set()
        for each in loading:
            each.result(LIMIT_S)
        assert states(client) == {("rows", "4"): "READY"}


def test_a_job_goes_to_its_fallback_while_the_model_is_unloaded_and_comes_back():
    with serving(Loader()) as endpoint, client_of(endpoint) as client:
        client.load_model("rows")
        url = f"triton+grpc://{endpoint.address}/rows?wait_s=0"
        backend = fallback(url, "mock:zeros?inputs=x:float32[?,4]&outputs=y:float32[?,4];sum:float32[?]").make()
        backend.open(JobContext(RealClock(), threads=1, streams=1, say=print))
        try:
            assert sources(backend, 1) == {endpoint.address}
            client.unload_model("rows")
            assert sources(backend, 20) == {"mock"}
            client.load_model("rows")
            while sources(backend, 1) == {"mock"}:
                pass  # the breaker lets a request try the server after 0.1 s
            assert sources(backend, 20) == {endpoint.address}
        finally:
            backend.close()


def sources(backend, count):
    """Who answers so many requests: the service doubles, the mock gives zeros."""
    replies = [submit(backend, {"x": np.ones((2, 4), np.float32)}).reply for _ in range(count)]
    for reply in replies:
        assert set(reply["y"].ravel()) == {0.0 if reply.provenance.backend.startswith("mock") else 2.0}
    urls = [reply.provenance.backend for reply in replies]
    return {"mock" if url.startswith("mock") else url.split("//")[1].split("/")[0] for url in urls}


def test_our_client_names_what_is_loaded_instead():
    with serving(Loader()) as endpoint, client_of(endpoint) as client:
        client.load_model("rows")
        with pytest.raises(ModelNotFound, match="the server has no model 'row'; did you mean 'rows'"):
            TritonClient(endpoint.address, "row").open(JobContext(RealClock(), threads=1, streams=1, say=print))


def test_a_folder_of_models_can_change_while_it_is_served(tmp_path):
    folder = tmp_path / "models" / "echo"
    url = "mock:echo?inputs=x:float32[?,4]&outputs=y:float32[?,4]"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        f'backend: "evtfw" parameters {{ key: "url" value {{ string_value: "{url}" }} }}'
    )
    with serving(ModelRepository(tmp_path / "models", say=print)) as endpoint, client_of(endpoint) as client:
        client.load_model("echo")
        assert states(client) == {("echo", "1"): "READY"}
        (folder / "2").mkdir()
        (folder / "1").rmdir()
        client.load_model("echo")
        assert states(client) == {("echo", "2"): "READY"}
        (folder / "config.pbtxt").write_text("max_batch_size: many")
        assert refusal(client.load_model, "echo")[0] == "INTERNAL"
        assert client.infer("echo", [tensor(values())]).as_numpy("y").shape == (2, 4)
