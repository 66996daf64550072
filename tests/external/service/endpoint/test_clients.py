"""The real tritonclient, in all its ways to ask, takes our endpoint for a Triton."""

from __future__ import annotations

import asyncio
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from tests.external.service.endpoint.conftest import (
    LIMIT_S,
    client_of,
    serving,
    tensor,
    unpacks_within_limits,
    values,
)


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("rows")
    assert client.is_model_ready("rows", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().extensions == ["model_configuration", "schedule_policy", "statistics"]
    metadata = client.get_model_metadata("rows")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("y", "FP32", [-1, 4]),
        ("sum", "FP32", [-1]),
    ]
    config = client.get_model_config("rows").config
    assert [(t.name, list(t.dims)) for t in config.input] == [("x", [4])]
    assert [(m.name, m.version, m.state) for m in client.get_model_repository_index().models] == [
        ("rows", "1", "READY")
    ]


def test_inference(client):
    result = client.infer("rows", [tensor(values())], request_id="7", client_timeout=LIMIT_S)
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * values())
    np.testing.assert_array_equal(result.as_numpy("sum"), values().sum(axis=1))
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("7", "rows", "1")
    assert response.parameters.keys() == {"queue_us", "compute_us"}


def test_requested_outputs(client):
    result = client.infer("rows", [tensor(values())], outputs=[triton.InferRequestedOutput("sum")])
    assert [output.name for output in result.get_response().outputs] == ["sum"]


def test_statistics_grow(client):
    for _ in range(3):
        client.infer("rows", [tensor(values())])
    for name in ("rows", ""):
        (found,) = client.get_inference_statistics(name).model_stats
        assert (found.inference_count, found.inference_stats.success.count, found.inference_stats.queue.count) == (
            6,
            3,
            3,
        )
        assert found.version == "1"
        assert [batch.batch_size for batch in found.batch_stats] == [2]


def test_callbacks(client):
    results = queue.SimpleQueue()
    for number in range(20):
        client.async_infer("rows", [tensor(values(1, number))], lambda result, error: results.put((result, error)))
    sums = []
    for _ in range(20):
        result, error = results.get(timeout=LIMIT_S)
        assert error is None
        sums.append(result.as_numpy("sum").item())
    assert sorted(sums) == [6.0 + 4 * number for number in range(20)]


def test_event_loops(endpoint):
    async def ask():
        async with tritonclient.grpc.aio.InferenceServerClient(endpoint.address) as client:
            results = await asyncio.gather(*[client.infer("rows", [tensor(values(1, n))]) for n in range(20)])
        return [result.as_numpy("sum").item() for result in results]

    assert asyncio.run(ask()) == [6.0 + 4 * number for number in range(20)]


def test_streams_answer_in_order(client):
    results = queue.SimpleQueue()
    client.start_stream(lambda result, error: results.put((result, error)))
    for number in range(200):
        client.async_stream_infer(
            "rows", [tensor(values(1, number))], request_id=str(number), enable_empty_final_response=True
        )
    for number in range(200):
        result, error = results.get(timeout=LIMIT_S)
        assert error is None
        assert result.get_response().id == str(number)
        assert result.get_response().parameters["triton_final_response"].bool_param
        assert result.as_numpy("sum").item() == 6.0 + 4 * number
    client.stop_stream()


def test_a_wrong_request_does_not_end_its_stream(client):
    results = queue.SimpleQueue()
    client.start_stream(lambda result, error: results.put((result, error)))
    client.async_stream_infer("other", [tensor(values())])
    client.async_stream_infer("rows", [tensor(values(), "wrong")], request_id="8")
    client.async_stream_infer("rows", [tensor(values())])
    assert "no model 'other'" in str(results.get(timeout=LIMIT_S)[1])
    assert "wrong" in str(results.get(timeout=LIMIT_S)[1])
    assert results.get(timeout=LIMIT_S)[0].as_numpy("y").shape == (2, 4)


def test_several_streams(endpoint):
    with client_of(endpoint) as first, client_of(endpoint) as second:
        results = queue.SimpleQueue()
        for client in (first, second):
            client.start_stream(lambda result, error: results.put(error))
        for _ in range(50):
            for client in (first, second):
                client.async_stream_infer("rows", [tensor(values())])
        assert [results.get(timeout=LIMIT_S) for _ in range(100)] == [None] * 100


@pytest.mark.parametrize(
    ("ask", "code", "says"),
    [
        (lambda c: c.infer("other", [tensor(values())]), "NOT_FOUND", "no model 'other'"),
        (lambda c: c.infer("rows", [tensor(values())], "9"), "NOT_FOUND", "no version '9'"),
        (lambda c: c.infer("../rows", [tensor(values())]), "INVALID_ARGUMENT", "no name of a model"),
        (lambda c: c.infer("rows", [tensor(values(), "z")]), "INVALID_ARGUMENT", "model 'rows'"),
        (lambda c: c.infer("rows", [tensor(values()[:, :3])]), "INVALID_ARGUMENT", "'x'"),
        (
            lambda c: c.infer("rows", [tensor(values())], outputs=[triton.InferRequestedOutput("sun")]),
            "INVALID_ARGUMENT",
            "did you mean 'sum'",
        ),
        (lambda c: c.get_model_metadata("../rows"), "INVALID_ARGUMENT", "no name of a model"),
        (lambda c: c.get_model_config("other"), "NOT_FOUND", "no model 'other'"),
        (lambda c: c.load_model("rows"), "UNAVAILABLE", "does not let clients load models"),
        (lambda c: c.unload_model("rows"), "UNAVAILABLE", "does not let clients unload models"),
        (lambda c: c.get_system_shared_memory_status(), "UNAVAILABLE", "switched off"),
        (lambda c: c.register_system_shared_memory("r", "/r", 8), "UNAVAILABLE", "switched off"),
        (lambda c: c.get_cuda_shared_memory_status(), "UNIMPLEMENTED", "CudaSharedMemoryStatus"),
        (lambda c: c.get_trace_settings(), "UNIMPLEMENTED", "TraceSetting"),
        (lambda c: c.get_log_settings(), "UNIMPLEMENTED", "LogSettings"),
    ],
)
def test_errors(client, ask, code, says):
    with pytest.raises(InferenceServerException) as caught:
        ask(client)
    assert caught.value.status() == f"StatusCode.{code}"
    assert says in caught.value.message()


def test_unknown_methods_and_health_protocol(endpoint):
    with grpc.insecure_channel(endpoint.address) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=LIMIT_S) == b"\x08\x01"
        for method in ("/no.Such/Method", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", timeout=LIMIT_S)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@unpacks_within_limits
def test_compressed_messages(client):
    result = client.infer("rows", [tensor(values())], compression_algorithm="gzip")
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * values())


def test_an_endpoint_can_be_started_again():
    with serving() as endpoint:
        endpoint.stop()
        endpoint.start()
        with client_of(endpoint) as client:
            assert client.is_server_live()
