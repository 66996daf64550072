"""A small TensorFlow Serving, made from the same messages through protobuf's own classes."""

from __future__ import annotations

from concurrent import futures

import grpc
import numpy as np
import pytest

from evtfw.core.clock import RealClock
from evtfw.core.resource import JobContext
from evtfw.external.tfserving.messages import (
    SERVICE,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)

DT_FLOAT = 1


class TensorFlow(grpc.GenericRpcHandler):
    """Serves ``double``, version 4: y = 2 x, rows of three numbers."""

    def __init__(self):
        self.predict_requests = []
        self.answers = "content"
        self.tells_metadata = True
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((self,))
        self.authority = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details):
        methods = {f"{SERVICE}/Predict": (PredictRequest, self.predict)}
        if self.tells_metadata:
            methods[f"{SERVICE}/GetModelMetadata"] = (GetModelMetadataRequest, self.metadata)
        if details.method not in methods:
            return None
        message, answer = methods[details.method]
        return grpc.unary_unary_rpc_method_handler(answer, message.FromString, lambda reply: reply.SerializeToString())

    def metadata(self, request, context):
        self.check_model(request, context)
        signatures = SignatureDefMap()
        for side, name in (("inputs", "x"), ("outputs", "y")):
            info = getattr(signatures.signature_def["serving_default"], side)[name]
            info.dtype = DT_FLOAT
            info.tensor_shape.dim.add(size=-1)
            info.tensor_shape.dim.add(size=3)
        reply = GetModelMetadataResponse()
        reply.model_spec.name = "double"
        reply.model_spec.version.value = 4
        reply.metadata["signature_def"].value = signatures.SerializeToString()
        return reply

    def predict(self, request, context):
        self.predict_requests.append(request)
        self.check_model(request, context)
        x = request.inputs["x"]
        values = 2 * np.frombuffer(x.tensor_content, np.float32)
        reply = PredictResponse()
        reply.model_spec.name = "double"
        reply.model_spec.version.value = 4
        y = reply.outputs["y"]
        y.dtype = DT_FLOAT
        y.tensor_shape.CopyFrom(x.tensor_shape)
        if self.answers == "content":
            y.tensor_content = values.tobytes()
        elif self.answers == "values":
            y.float_val.extend(values.tolist())
        else:
            y.tensor_content = values.tobytes()[:-1]
        return reply

    def check_model(self, request, context):
        if request.model_spec.name != "double":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")


@pytest.fixture
def tensorflow():
    server = TensorFlow()
    yield server
    server.server.stop(0).wait(10)


@pytest.fixture
def real_context(said):
    return JobContext(clock=RealClock(), threads=2, streams=4, say=said.append)
