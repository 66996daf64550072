"""Replies that a server should not give, from a small server in this process."""

import concurrent.futures
import time

import grpc
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from evtfw.core.errors import BadReply, ServerUnavailable
from evtfw.external.contract import Request
from evtfw.external.errors import AccessDenied, Overloaded
from evtfw.external.grpc.options import GrpcOptions
from evtfw.external.triton.backend import TritonClient
from evtfw.external.triton.options import TritonOptions
from tests.external.triton.test_tritonserver import ask, context_for

SERVICE = "inference.GRPCInferenceService"
ONE = {"x": np.arange(4, dtype=np.float32)}


class FakeTriton(grpc.GenericRpcHandler):
    """Answers as a Triton with the model 'fake'; what it infers is the test's business."""

    def __init__(self):
        self.requests = []
        self.headers = {}
        self.config = model_config_pb2.ModelConfig(name="fake", max_batch_size=0)
        self.refused = {}

    def infer(self, request):
        reply = service_pb2.ModelInferResponse(model_name="fake", model_version="1", id=request.id)
        reply.outputs.add(name="y", datatype="FP32", shape=[len(request.raw_input_contents[0]) // 4])
        reply.raw_output_contents.append(request.raw_input_contents[0])
        return reply

    def service(self, details):
        method = details.method.rpartition("/")[2]
        self.headers = dict(details.invocation_metadata)

        def answer(request, context):
            if method in self.refused:
                context.abort(self.refused[method], "as the test wants")
            reply = getattr(self, f"_{method}", lambda _: getattr(service_pb2, f"{method}Response")())(request)
            return reply if isinstance(reply, bytes) else reply.SerializeToString()

        kind = getattr(service_pb2, f"{method}Request")
        return grpc.unary_unary_rpc_method_handler(answer, kind.FromString, None)

    def _ServerReady(self, _):
        return service_pb2.ServerReadyResponse(ready=True)

    def _ModelReady(self, request):
        return service_pb2.ModelReadyResponse(ready=request.name == "fake")

    def _ModelMetadata(self, _):
        reply = service_pb2.ModelMetadataResponse(name="fake", versions=["1"], platform="fake")
        reply.inputs.add(name="x", datatype="FP32", shape=[-1])
        reply.outputs.add(name="y", datatype="FP32", shape=[-1])
        return reply

    def _ModelConfig(self, _):
        return service_pb2.ModelConfigResponse(config=self.config)

    def _ModelInfer(self, request):
        self.requests.append(request)
        return self.infer(request)


@pytest.fixture
def fake():
    handler = FakeTriton()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([handler])
    handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler
    server.stop(None).wait()


@pytest.fixture
def client_of(fake):
    opened = []

    def make(**options):
        client = TritonClient(fake.address, "fake", **options)
        opened.append(client)
        client.open(context_for([]))
        return client

    yield make
    for client in opened:
        client.close()


def changed(**fields):
    """A way to infer that changes fields of the reply."""

    def change(self, request):
        reply = FakeTriton.infer(self, request)
        for name, value in fields.items():
            setattr(reply, name, value)
        return reply

    return change


def raw(*contents, shape=(4,), datatype="FP32", name="y"):
    """A way to infer that sends these bytes."""

    def answer(self, request):
        reply = service_pb2.ModelInferResponse(model_name="fake", model_version="1", id=request.id)
        reply.outputs.add(name=name, datatype=datatype, shape=shape)
        reply.raw_output_contents.extend(contents)
        return reply

    return answer


@pytest.mark.parametrize(
    ("infer", "words"),
    [
        (changed(id="another"), "answer to another request: expected id '.*', got 'another'"),
        (changed(model_name="other"), "answer of another model: expected 'fake', got 'other'"),
        (raw(bytes(15)), r"output 'y': expected 16 bytes for FP32 \[4\], got 15"),
        (raw(bytes(20)), "expected 16 bytes .* got 20"),
        (raw(bytes(16), bytes(16)), "expected values of 1 outputs, got 2"),
        (raw(), r"expected 4 values for FP32 \[4\], got 0"),
        (raw(bytes(16), shape=(-4,)), r"the shape \[-4\] is impossible"),
        (raw(bytes(16), shape=(1 << 40, 1 << 40)), "is impossible"),
        (raw(bytes(32), datatype="FP64"), r"output 'y': expected float32 \[\?\], got float64 \[4\]"),
        (raw(bytes(16), name="z"), "there is no output 'z'"),
        (raw(bytes(16), datatype="FP31"), "there is no datatype 'FP31'"),
        (raw(b"\x09\x00\x00\x00ab", datatype="BYTES", shape=(1,)), "expected 1 strings, but its 6 bytes end"),
        (raw(b"\x01\x00\x00\x00ab", datatype="BYTES", shape=(1,)), "got 1 bytes more"),
        (lambda self, request: FakeTriton.infer(self, request).SerializeToString()[:-3], "cannot be read"),
        (lambda self, request: b"\xff" * 30, "cannot be read"),
    ],
)
def test_wrong_replies_are_refused_with_what_was_expected(fake, client_of, infer, words):
    client = client_of()
    fake.infer = infer.__get__(fake)
    with pytest.raises(BadReply, match=words) as caught:
        _ = ask(client, ONE).reply
    assert client.url in str(caught.value)


def test_typed_contents_are_read(fake, client_of):
    def typed(request):
        reply = service_pb2.ModelInferResponse(model_name="fake", id=request.id)
        output = reply.outputs.add(name="y", datatype="FP32", shape=[2])
        output.contents.fp32_contents.extend([0.5, 2.0])
        return reply

    fake.infer = typed
    np.testing.assert_array_equal(ask(client_of(), ONE).reply["y"], np.array([0.5, 2.0], np.float32))


def test_the_servers_own_times_are_read(fake, client_of):
    def timed(request):
        reply = FakeTriton.infer(fake, request)
        reply.parameters["queue_us"].int64_param = 20
        reply.parameters["compute_us"].double_param = 1.5
        return reply

    fake.infer = timed
    times = ask(client_of(), ONE).reply.times
    assert (times.queue_ns, times.compute_ns) == (20_000, 1500)


def test_priority_and_time_limit_are_the_servers_way_to_say_it(fake, client_of):
    fake.config.dynamic_batching.priority_levels = 5
    fake.config.dynamic_batching.default_priority_level = 3
    fake.config.dynamic_batching.default_queue_policy.allow_timeout_override = True
    client = client_of(triton=TritonOptions(priority=1))
    _ = ask(client, ONE, limit_s=10).reply, ask(client, Request(ONE, id="mine", priority=9)).reply
    first, second = (request.parameters for request in fake.requests)
    assert first["priority"].uint64_param == 2
    assert second["priority"].uint64_param == 1
    assert 5e6 < first["timeout"].int64_param <= 10e6
    assert fake.requests[1].id == "mine"


def test_headers_and_token_are_sent(fake, client_of):
    client = client_of(options=GrpcOptions(token="secret", headers=(("x-group", "top"),)))
    _ = ask(client, ONE).reply
    assert fake.headers["authorization"] == "Bearer secret"
    assert fake.headers["x-group"] == "top"


@pytest.mark.parametrize("method", ["RepositoryIndex", "ModelConfig"])
def test_calls_that_a_server_does_not_have_are_done_without(fake, client_of, method):
    fake.refused[method] = grpc.StatusCode.UNIMPLEMENTED
    assert client_of().describe().max_batch_size == (None if method == "ModelConfig" else 0)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.UNAVAILABLE, ServerUnavailable),
        (grpc.StatusCode.PERMISSION_DENIED, AccessDenied),
    ],
)
def test_a_server_that_refuses_its_index_is_not_used(fake, client_of, code, error):
    fake.refused["RepositoryIndex"] = code
    with pytest.raises(error, match="as the test wants"):
        client_of()


def test_a_refused_region_means_messages(fake, client_of):
    fake.refused["SystemSharedMemoryStatus"] = grpc.StatusCode.UNIMPLEMENTED
    large = {"x": np.ones(100_000, np.float32)}
    np.testing.assert_array_equal(ask(client_of(triton=TritonOptions(shm="on")), large).reply["y"], large["x"])


def test_nobody_there_is_said_with_the_address():
    client = TritonClient("127.0.0.1:1", "fake")
    start_s = time.monotonic()
    with pytest.raises(ServerUnavailable, match=r"triton\+grpc://127\.0\.0\.1:1/fake"):
        client.open(context_for([]))
    assert time.monotonic() - start_s < 6
