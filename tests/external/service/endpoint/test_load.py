"""Cancels, deadlines, overload and clients that never finish: places are freed, and health answers."""

from __future__ import annotations

import contextlib
import gzip
import queue
import socket
import threading

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from evtfw.core.errors import ExternalError
from evtfw.external.errors import Overloaded
from evtfw.external.service.settings import QueuePolicy, ServingSettings
from evtfw.external.service.wire.limits import Limits
from tests.external.service.endpoint.conftest import LIMIT_S, ByHand, client_of, serving, tensor, values
from tests.external.service.wire.messages import one, request

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"


def code_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        call.result(timeout=LIMIT_S)
    return caught.value.code().name


def message(**options):
    return request({"x": values()}, model="rows", **options).SerializeToString()


@pytest.fixture
def backend():
    return ByHand(slots=4)


def test_a_storm_of_cancels_frees_all_places(backend):
    with serving(backend, limits=Limits(calls=300)) as endpoint, grpc.insecure_channel(endpoint.address) as channel:
        infer = channel.unary_unary(INFER)
        for _ in range(3):
            calls = [infer.future(message()) for _ in range(250)]
            backend.next()
            for call in calls:
                call.cancel()
            backend.resolve_all()
        backend.answer_at_once()
        for _ in range(50):
            infer(message(), timeout=LIMIT_S, wait_for_ready=True)
        with client_of(endpoint) as client:
            counts = client.get_inference_statistics("rows").model_stats[0].inference_stats
        assert counts.success.count >= 50


def test_the_deadline_of_a_call_ends_its_request(backend):
    with serving(backend) as endpoint, grpc.insecure_channel(endpoint.address) as channel:
        call = channel.unary_unary(INFER).future(message(), timeout=0.3)
        pending = backend.next()
        assert code_of(call) == "DEADLINE_EXCEEDED"
        pending.resolve()


def test_streams_that_are_cancelled_free_their_places(backend):
    size = len(message())
    with serving(backend, limits=Limits(in_flight_bytes=25 * size)) as endpoint:
        for _ in range(5):
            with client_of(endpoint) as client:
                client.start_stream(lambda result, error: None)
                for _ in range(20):
                    client.async_stream_infer("rows", [tensor(values())])
                backend.next()
                client.stop_stream(cancel_requests=True)
            backend.resolve_all()
        backend.answer_at_once()
        with client_of(endpoint) as client:
            for _ in range(50):
                client.infer("rows", [tensor(values())], client_timeout=LIMIT_S)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Overloaded("full"), "RESOURCE_EXHAUSTED", "full"),
        (ExternalError("cpu:/secret/rows.onnx broke"), "INTERNAL", "model 'rows' failed"),
        (RuntimeError("/secret"), "INTERNAL", "model 'rows' failed"),
    ],
)
def test_errors_of_a_model(backend, error, code, says):
    with serving(backend) as endpoint, grpc.insecure_channel(endpoint.address) as channel:
        call = channel.unary_unary(INFER).future(message())
        backend.next().fail(error)
        assert code_of(call) == code
        assert says in call.details()
        assert "secret" not in call.details()


def test_a_reply_that_is_dropped_is_an_error(backend):
    with serving(backend) as endpoint, grpc.insecure_channel(endpoint.address) as channel:
        call = channel.unary_unary(INFER).future(message())
        backend.next().drop()
        assert code_of(call) == "INTERNAL"


def test_too_many_calls_are_refused_at_once_and_health_answers(backend):
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(serving(backend, limits=Limits(calls=3)))
        client = stack.enter_context(client_of(endpoint))
        with grpc.insecure_channel(endpoint.address) as channel:
            infer = channel.unary_unary(INFER)
            calls = [infer.future(message()) for _ in range(10)]
            ended = threading.Semaphore(0)
            for call in calls:
                call.add_done_callback(lambda _: ended.release())
            assert all(ended.acquire(timeout=LIMIT_S) for _ in range(7))
            refused = [call for call in calls if call.done()]
            assert {code_of(call) for call in refused} == {"RESOURCE_EXHAUSTED"}
            assert client.is_server_live(client_timeout=LIMIT_S)
            assert client.is_server_ready(client_timeout=LIMIT_S)
            backend.next()
            backend.answer_at_once()
            assert all(call.result(timeout=LIMIT_S) for call in calls if call not in refused)


def test_too_many_bytes_are_refused(backend):
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(serving(backend, limits=Limits(in_flight_bytes=200)))
        with grpc.insecure_channel(endpoint.address) as channel:
            infer = channel.unary_unary(INFER)
            first = infer.future(message())
            backend.next()
            calls = [infer.future(message()) for _ in range(3)]
            assert "RESOURCE_EXHAUSTED" in {code_of(call) for call in calls[-1:]}
            backend.resolve_all()
            assert first.result(timeout=LIMIT_S)


def test_a_full_queue_is_told_and_the_refused_count_as_failed(backend):
    settings = ServingSettings(default_policy=QueuePolicy(max_queue_size=1))
    ended = queue.SimpleQueue()
    with serving(ByHand(), settings=settings) as endpoint, grpc.insecure_channel(endpoint.address) as channel:
        for number in range(20):
            channel.unary_unary(INFER).future(message(request_id=str(number))).add_done_callback(ended.put)
        refused = [ended.get(timeout=LIMIT_S) for _ in range(18)]  # one is computed, one waits
        assert {code_of(call) for call in refused} == {"RESOURCE_EXHAUSTED"}
        with client_of(endpoint) as client:
            counts = client.get_inference_statistics("rows").model_stats[0].inference_stats
            assert (counts.success.count, counts.fail.count) == (0, 18)


def test_messages_that_never_come_are_ended():
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(serving(limits=Limits(receive_s=0.2, calls=8)))
        with grpc.insecure_channel(endpoint.address) as channel, client_of(endpoint) as client:
            never = threading.Event()
            calls = [
                channel.stream_unary(INFER).future(iter(lambda: never.wait(LIMIT_S) and b"", b"")) for _ in range(8)
            ]
            assert client.is_server_live(client_timeout=LIMIT_S)
            assert {code_of(call) for call in calls} == {"DEADLINE_EXCEEDED"}
            never.set()
            client.infer("rows", [tensor(values())], client_timeout=LIMIT_S)


def test_connections_are_limited_and_health_answers():
    with serving(limits=Limits(connections=20)) as endpoint, client_of(endpoint) as client:
        assert client.is_server_live(client_timeout=LIMIT_S)
        idle = [socket.create_connection(("127.0.0.1", endpoint.port), timeout=LIMIT_S) for _ in range(100)]
        closed = 0
        for connection in idle[40:]:
            connection.sendall(b"PRI * HTTP/2.0\r\n")
            try:
                while connection.recv(1000):
                    pass
                closed += 1
            except ConnectionError:
                closed += 1
            except TimeoutError:
                break
        assert closed == 60
        assert client.is_server_live(client_timeout=LIMIT_S)
        for connection in idle:
            connection.close()


def test_large_messages_are_refused():
    with serving(limits=Limits(message_bytes=10_000)) as endpoint, grpc.insecure_channel(endpoint.address) as channel:
        large = one((100, 100), model="rows").SerializeToString()
        assert code_of(channel.unary_unary(INFER).future(large)) == "RESOURCE_EXHAUSTED"
        bomb = channel.unary_unary(
            INFER,
        ).future(bytes(1 << 20), compression=grpc.Compression.Gzip)
        assert len(gzip.compress(bytes(1 << 20))) < 10_000
        assert code_of(bomb) in ("RESOURCE_EXHAUSTED", "UNIMPLEMENTED")  # an old gRPC takes nothing compressed
        assert pb.ServerLiveResponse.FromString(channel.unary_unary(LIVE)(b"", timeout=LIMIT_S)).live


def test_hostile_requests_disturb_nobody():
    shape = one(model="rows")
    shape.inputs[0].shape[:] = [2**62, 2**62]
    outputs = one(model="rows", outputs=["y"] * 100_000)
    duplicates = one(model="rows", outputs=["y", "y"])
    hostile = [m.SerializeToString() for m in (shape, outputs, duplicates, one(model="a\0b"))] + [b"\x23" * 50, b"\xff"]
    with serving() as endpoint, grpc.insecure_channel(endpoint.address) as channel, client_of(endpoint) as client:
        calls = [channel.unary_unary(INFER).future(content) for content in hostile * 5]
        client.infer("rows", [tensor(values())], client_timeout=LIMIT_S)
        assert {code_of(call) for call in calls} == {"INVALID_ARGUMENT"}
        client.infer("rows", [tensor(values())], client_timeout=LIMIT_S)


def test_a_service_that_ends_says_so(backend):
    with serving(backend) as endpoint, client_of(endpoint) as client:
        endpoint._service.drain(0.0)
        assert client.is_server_live()
        assert not client.is_server_ready()
        with pytest.raises(InferenceServerException) as caught:
            client.infer("rows", [tensor(values())])
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
