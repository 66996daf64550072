"""Bytes against what protobuf itself writes and reads."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from tritonclient.grpc import service_pb2

from evtfw.core.errors import BadReply, BadRequest
from evtfw.external.triton.datatypes import DTYPES, from_bfloat16, to_bfloat16
from evtfw.external.triton.decoding import ReplyDecoder
from evtfw.external.triton.encoding import RequestEncoder, WireTensor, parameter

PLAIN = sorted(set(DTYPES) - {"BYTES", "BF16"})


@pytest.mark.parametrize("datatype", PLAIN)
@pytest.mark.parametrize("shape", [(), (0, 3), (300,), (2, 3, 4)])
def test_protobuf_reads_our_requests_and_we_read_its_replies(datatype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(DTYPES[datatype])
    encoder = RequestEncoder("model", "7", [WireTensor("tensor", datatype)])
    for _ in range(2):  # the second time from what was kept
        message = encoder.encode({"tensor": array}, "id", parameter("timeout", 5))
        request = service_pb2.ModelInferRequest.FromString(message)
        assert (request.model_name, request.model_version, request.id) == ("model", "7", "id")
        assert (request.inputs[0].name, request.inputs[0].datatype) == ("tensor", datatype)
        assert tuple(request.inputs[0].shape) == shape
        assert request.raw_input_contents[0] == array.tobytes()
        assert request.parameters["timeout"].int64_param == 5
    reply = service_pb2.ModelInferResponse(model_name="model", id="id", raw_output_contents=[array.tobytes()])
    reply.outputs.add(name="out", datatype=datatype, shape=shape)
    found = ReplyDecoder("model").decode(reply.SerializeToString(), "id").outputs["out"]
    assert found.dtype == array.dtype
    assert found.flags.aligned
    np.testing.assert_array_equal(found, array)


def test_arrays_that_are_not_contiguous_are_sent_in_their_order():
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    encoder = RequestEncoder("model", "", [WireTensor("x", "FP32")])
    request = service_pb2.ModelInferRequest.FromString(encoder.encode({"x": array}, "1"))
    assert request.raw_input_contents[0] == array.tobytes()


def test_strings_are_sent_and_anything_else_is_refused():
    encoder = RequestEncoder("model", "", [WireTensor("x", "BYTES")])
    message = encoder.encode({"x": np.array(["ä", b"\x00"], object)}, "1")
    raw = service_pb2.ModelInferRequest.FromString(message).raw_input_contents[0]
    assert raw == b"\x02\x00\x00\x00\xc3\xa4\x01\x00\x00\x00\x00"
    with pytest.raises(BadRequest, match="input 'x': expected bytes or str in the array, got int"):
        encoder.encode({"x": np.array([1], object)}, "1")


def test_bfloat16_is_rounded_to_the_nearest_and_back_exactly():
    values = np.array([0.0, 1.0, -2.5, 1.00390625, 1.01171875, np.inf, np.nan, 3e38], np.float32)
    expected = np.array([0.0, 1.0, -2.5, 1.0, 1.015625, np.inf, np.nan, 3.0040553e38], np.float32)
    np.testing.assert_allclose(from_bfloat16(to_bfloat16(values)), expected, rtol=1e-4)


@hypothesis.given(strategies.binary(max_size=200))
def test_any_bytes_are_a_bad_reply(message):
    with pytest.raises(BadReply):
        ReplyDecoder("model").decode(message, "id")


@hypothesis.given(strategies.data())
def test_a_damaged_reply_is_a_bad_reply_or_has_the_right_form(data):
    reply = service_pb2.ModelInferResponse(model_name="model", id="id", raw_output_contents=[bytes(8)])
    reply.outputs.add(name="out", datatype="FP32", shape=[2])
    message = bytearray(reply.SerializeToString())
    place = data.draw(strategies.integers(0, len(message) - 1))
    message[place] = data.draw(strategies.integers(0, 255))
    try:
        found = ReplyDecoder("model").decode(bytes(message), "id")
    except BadReply:
        return
    assert all(array.nbytes <= 8 for array in found.outputs.values())
