"""TensorFlow Serving's Predict, with protobufs made from its own descriptors and with our own client."""

from __future__ import annotations

import contextlib

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evtfw.external.tfserving.messages import (
    SERVICE,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from evtfw.external.tfserving.tensors import read_tensor, write_tensor
from tests.external.service.endpoint.conftest import LIMIT_S, values


def request(model="rows", inputs=None, **spec):
    message = PredictRequest()
    message.model_spec.name = model
    for key, value in spec.items():
        setattr(message.model_spec, key, value)
    for name, array in (inputs or {"x": values()}).items():
        message.inputs[name].ParseFromString(b"".join(write_tensor(array)))
    return message


@pytest.fixture
def predict(endpoint):
    with grpc.insecure_channel(endpoint.address) as channel:
        call = channel.unary_unary(f"{SERVICE}/Predict")
        yield lambda m: call(m if isinstance(m, bytes) else m.SerializeToString(), timeout=LIMIT_S)


def code_of(call, message):
    with pytest.raises(grpc.RpcError) as caught:
        call(message)
    return caught.value.code().name


def test_predict(predict):
    response = PredictResponse.FromString(predict(request()))
    assert (response.model_spec.name, response.model_spec.version.value) == ("rows", 1)
    np.testing.assert_array_equal(read_tensor(response.outputs["y"].SerializeToString()), 2 * values())
    np.testing.assert_array_equal(read_tensor(response.outputs["sum"].SerializeToString()), values().sum(axis=1))


def test_output_filter(predict):
    message = request()
    message.output_filter.append("sum")
    assert set(PredictResponse.FromString(predict(message)).outputs) == {"sum"}
    message.output_filter.append("sum")
    assert code_of(predict, message) == "INVALID_ARGUMENT"


def test_errors(predict):
    assert code_of(predict, request("other")) == "NOT_FOUND"
    assert code_of(predict, request("../rows")) == "INVALID_ARGUMENT"
    assert code_of(predict, request(signature_name="other")) == "INVALID_ARGUMENT"
    assert code_of(predict, request(inputs={"z": values()})) == "INVALID_ARGUMENT"
    message = request()
    message.inputs["x"].tensor_shape.dim[0].size = 2**62
    assert code_of(predict, message) == "INVALID_ARGUMENT"
    message.inputs["x"].tensor_shape.dim[0].size = -1
    assert code_of(predict, message) == "INVALID_ARGUMENT"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.data())
def test_mutated_requests_are_refused_or_answered(predict, data):
    content = bytearray(request().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(grpc.RpcError):
        predict(bytes(content))
        return
    assert code_of(predict, bytes(content)) in ("INVALID_ARGUMENT", "NOT_FOUND")


def test_metadata(endpoint):
    message = GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "rows"
    with grpc.insecure_channel(endpoint.address) as channel:
        reply = channel.unary_unary(f"{SERVICE}/GetModelMetadata")(message.SerializeToString(), timeout=LIMIT_S)
    response, signatures = GetModelMetadataResponse.FromString(reply), SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert set(signature.outputs) == {"y", "sum"}
    assert [axis.size for axis in signature.inputs["x"].tensor_shape.dim] == [-1, 4]
