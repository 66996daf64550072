"""Against a real tritonserver."""

import time

import numpy as np
import pytest

from evtfw import data
from evtfw.core.clock import RealClock
from evtfw.core.errors import BadRequest, DeadlineExceeded, ExternalError, ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.errors import ModelNotFound
from evtfw.external.onnx_model import OnnxModel, SessionSettings
from evtfw.external.triton.backend import TritonClient
from evtfw.external.triton.options import TritonOptions
from tests.external.conftest import submit
from tests.peers.tritonserver import data_sha256, real_tritonserver

MODELS = ("toptag", "echo", "echo_bytes", "echo_int64", "echo_fp16")
DEADLINE_S = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with real_tritonserver(tmp_path_factory.mktemp("triton"), models=MODELS) as server:
        yield server


@pytest.fixture
def client_of(server):
    opened = []

    def make(model, *words, **options):
        client = TritonClient(server.grpc_address, model, *words, **options)
        client.open(context_for(said=[]))
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


def context_for(said):
    return JobContext(clock=RealClock(), threads=2, streams=8, say=said.append)


def ask(client, inputs, limit_s=DEADLINE_S):
    return submit(client, inputs, deadline_ns=time.monotonic_ns() + int(limit_s * 1e9))


def test_scores_are_those_of_the_embedded_model(client_of):
    images = np.random.default_rng(1).random((5, 64, 64, 1), np.float32)
    model = OnnxModel(data.path("toptag.onnx"), SessionSettings(1))
    client = client_of("toptag")
    reply = ask(client, {"image": images}).reply
    np.testing.assert_allclose(reply["probability"], model.run({"image": images})["probability"], rtol=1e-5, atol=1e-7)
    assert reply.provenance.model == "toptag"
    assert reply.provenance.version == "1"
    assert reply.provenance.sha256 == data_sha256(data.path("toptag.onnx"))
    assert reply.times.serialise_ns > 0
    assert reply.times.network_ns > 0


def test_the_description_is_the_servers(client_of):
    description = client_of("toptag").describe()
    assert description.max_batch_size == 16
    assert [str(spec) for spec in description.inputs] == ["image: float32 [?, 64, 64, 1]"]
    assert [str(spec) for spec in description.outputs] == ["probability: float32 [?, 2]"]
    assert description.platform == "python"


def test_more_rows_than_the_model_takes_are_refused_here(client_of):
    with pytest.raises(BadRequest, match="17 rows"):
        _ = ask(client_of("toptag"), {"image": np.zeros((17, 64, 64, 1), np.float32)}).reply


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("echo", np.linspace(-1, 1, 100_003, dtype=np.float32)),
        ("echo_int64", np.array([-(1 << 62), 0, 7])),
        ("echo_fp16", np.array([0.5, -2.0], np.float16)),
        ("echo_bytes", np.array([b"", b"\x00\xff", "häß".encode()], object)),
    ],
)
def test_values_of_all_kinds_come_back(client_of, model, values):
    reply = ask(client_of(model), {"x": values}).reply
    assert reply["y"].dtype == values.dtype
    assert reply["y"].flags.aligned
    np.testing.assert_array_equal(reply["y"], values)


def test_a_thousand_requests_at_once_get_their_own_answers(client_of):
    client = client_of("echo")
    outcomes = [ask(client, {"x": np.array([number], np.float32)}) for number in range(1000)]
    assert [outcome.reply["y"].item() for outcome in outcomes] == list(range(1000))


def test_an_unknown_model_is_named_with_the_nearest(server):
    client = TritonClient(server.grpc_address, "toptga")
    with pytest.raises(ModelNotFound, match=r"toptga'; did you mean 'toptag'\?"):
        client.open(context_for([]))


def test_an_unknown_version_is_named_with_the_known(server):
    client = TritonClient(server.grpc_address, "toptag", "3")
    with pytest.raises(ModelNotFound, match="no model 'toptag' version 3; versions: 1"):
        client.open(context_for([]))


def test_another_checksum_is_refused(server):
    client = TritonClient(server.grpc_address, "toptag", triton=TritonOptions(sha256="0" * 64))
    with pytest.raises(ExternalError, match="has sha256 c3527182"):
        client.open(context_for([]))


def test_a_server_that_hangs_meets_the_deadline_and_serves_again_afterwards(server, client_of):
    client = client_of("echo")
    one = {"x": np.ones(4, np.float32)}
    server.stop()
    try:
        start_s = time.monotonic()
        assert isinstance(ask(client, one, 0.3).error, DeadlineExceeded)
        assert time.monotonic() - start_s < 0.8
    finally:
        server.cont()
    np.testing.assert_array_equal(ask(client, one).reply["y"], one["x"])


def test_a_killed_server_is_unavailable_and_serves_the_same_client_after_its_restart(tmp_path):
    with real_tritonserver(tmp_path, models=["echo"], delay_s=1.0) as server:
        client = TritonClient(server.grpc_address, "echo")
        client.open(context_for([]))
        one = {"x": np.ones(4, np.float32)}
        waiting = ask(client, one)
        server.kill()
        assert isinstance(waiting.error, ServerUnavailable)
        assert isinstance(ask(client, one).error, ServerUnavailable)
        server.slow(0.0)
        server.restart()
        end_s = time.monotonic() + DEADLINE_S
        while isinstance((outcome := ask(client, one)).error, ServerUnavailable) and time.monotonic() < end_s:
            pass  # gRPC tries to connect again every few hundred milliseconds
        np.testing.assert_array_equal(outcome.reply["y"], one["x"])
        client.close()
