"""The lying server is a Triton to tritonclient, and lies as told."""

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.faults import lies
from tests.faults.liar import Liar, LiarProcess


def ask(client, values=((1, 2, 3, 4),), timeout_s=None, request_id="", model="double"):
    array = np.asarray(values, np.float32)
    tensor = triton.InferInput("x" if model == "double" else "image", array.shape, "FP32")
    tensor.set_data_from_numpy(array)
    return client.infer(model, [tensor], client_timeout=timeout_s, request_id=request_id)


@pytest.fixture
def liar():
    with Liar() as liar:
        yield liar


@pytest.fixture
def client(liar):
    with triton.InferenceServerClient(liar.address) as client:
        yield client


def test_honest(client, liar):
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    metadata = client.get_model_metadata("double")
    assert (metadata.inputs[0].name, list(metadata.outputs[0].shape)) == ("x", [-1, 4])
    assert client.get_model_config("toptag").config.max_batch_size == 64
    assert {model.name for model in client.get_model_repository_index().models} == {"double", "toptag"}
    result = ask(client, request_id="seven")
    assert result.as_numpy("y").tolist() == [[2, 4, 6, 8]]
    assert result.get_response().id == "seven"
    assert ask(client, np.zeros((3, 64, 64, 1)), model="toptag").as_numpy("probability").tolist() == [[0.5, 0.5]] * 3
    assert (liar.requests, liar.served) == (2, [1, 2])


def test_lies_are_told_at_the_request_they_are_for(client, liar):
    liar.lies = {2: lies.wrong_name, 3: lies.overloaded, 5: lies.wrong_id, 6: lies.not_a_number}
    assert ask(client).as_numpy("z") is None
    assert ask(client).as_numpy("z") is not None
    with pytest.raises(InferenceServerException, match="Exceeds maximum queue size"):
        ask(client)
    assert ask(client).as_numpy("y").tolist() == [[2, 4, 6, 8]]
    assert ask(client, request_id="mine").get_response().id == "somebody-else"
    assert np.isnan(ask(client).as_numpy("y")[0, 0])


@pytest.mark.parametrize("lie", [lies.never, lies.Slow(30)])
def test_what_never_comes_ends_with_the_client(client, liar, lie):
    liar.always = lie
    with pytest.raises(InferenceServerException, match="Deadline"):
        ask(client, timeout_s=0.1)
    liar.wait(served=1)


def test_unloaded_and_loaded(client, liar):
    liar.unload("double")
    with pytest.raises(InferenceServerException, match="'double' is not found"):
        ask(client)
    assert not client.is_model_ready("double")
    liar.load("double")
    assert ask(client).as_numpy("y") is not None


def test_stopped_and_started_on_the_same_port(client, liar):
    liar.stop()
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        ask(client)
    liar.start()
    fresh = [("grpc.use_local_subchannel_pool", 1)]  # the other's failed connection waits before it tries again
    with triton.InferenceServerClient(liar.address, channel_args=fresh) as new:
        assert ask(new).as_numpy("y") is not None


def test_a_process_that_is_stopped_and_killed():
    with LiarProcess() as server, triton.InferenceServerClient(server.address) as client:
        assert ask(client).as_numpy("y") is not None
        server.hang()
        with pytest.raises(InferenceServerException, match="Deadline"):
            ask(client, timeout_s=0.1)
        server.go_on()
        assert ask(client, timeout_s=10).as_numpy("y") is not None
        server.kill()
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            ask(client)
