"""Row 33: exceptions in the code that runs in gRPC's thread reach their event, and the connection goes on."""

import functools
import threading

import numpy as np
import pytest

from evtfw import CallbackCompletion
from evtfw.core.errors import BadReply, BadRequest, ExternalError
from evtfw.external.contract import Backend
from evtfw.external.grpc.backend import GrpcBackend
from tests.faults.conftest import DOUBLE
from tests.faults.jobs import EVENTS, inputs, run_job

BAD = 3


class Own(GrpcBackend):
    """A client of `tests.faults.liar.Liar` written by a user, with a mistake in one of its methods."""

    method = "/inference.GRPCInferenceService/ModelInfer"
    model = DOUBLE
    mistake_in = ""

    def _fail(self, where, x):
        if where == self.mistake_in and np.array_equal(x, inputs()[BAD - 1]):
            raise ZeroDivisionError("a mistake in the transport")

    def encode(self, request):
        from tritonclient.grpc import service_pb2

        x = request.inputs["x"]
        self._fail("encode", x)
        message = service_pb2.ModelInferRequest(model_name="double", id=request.id)
        message.inputs.add(name="x", datatype="FP32", shape=x.shape)
        message.raw_input_contents.append(x.tobytes())
        return message.SerializeToString()

    def decode(self, message, request):
        from tritonclient.grpc import service_pb2

        self._fail("decode", request.inputs["x"])
        reply = service_pb2.ModelInferResponse.FromString(message)
        return {"y": np.frombuffer(reply.raw_output_contents[0], np.float32).reshape(reply.outputs[0].shape)}


@pytest.mark.parametrize(("where", "error"), [("encode", (BadRequest, ExternalError)), ("decode", BadReply)])
def test_row_33_a_mistake_in_encode_or_decode(liar, where, error):
    backend = Own(liar.address, url=f"own://{liar.address}/double")
    backend.mistake_in = where
    outcome = run_job(backend)
    assert outcome.events("failed") == {BAD}
    assert isinstance(outcome.result.failures[0].error, error)
    assert "ZeroDivisionError: a mistake in the transport" in outcome.errors[0]
    assert backend.url in outcome.errors[0]
    assert liar.requests == (EVENTS if where == "decode" else EVENTS - 1)


class Composed(Backend):
    """Passes requests on; raises when one of the replies comes."""

    def __init__(self, inner):
        self.inner = inner

    def open(self, context):
        self.inner.open(context)

    def close(self):
        self.inner.close()

    def describe(self):
        return self.inner.describe()

    def submit(self, request, done):
        self.inner.submit(request, CallbackCompletion(functools.partial(self._ended, done), parent=done))

    @staticmethod
    def _ended(done, reply, error):
        if np.array_equal(reply["y"], 2 * inputs()[BAD - 1]):
            raise ZeroDivisionError("a mistake in a callback")
        done.resolve(reply)


def test_row_33_a_mistake_in_a_callback_is_told_and_the_thread_of_grpc_goes_on(liar, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append((args.thread.name, str(args.exc_value))))
    outcome = run_job(Composed(Own(liar.address, url=f"own://{liar.address}/double")), timeout_s=1)
    assert told == [("evtfw-grpc", "a mistake in a callback")]
    assert outcome.events("failed") == {BAD}
    assert isinstance(outcome.result.failures[0].error, ExternalError)
    assert liar.requests == EVENTS
