"""Replies, read back by tritonclient's own protobufs and result class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferResult
from tritonclient.grpc import service_pb2 as pb

from evtfw.core.errors import BadReply
from evtfw.external.contract import Times
from evtfw.external.service.wire.head import SharedRange
from evtfw.external.service.wire.reply import ReplyWriter
from tests.external.service.wire.test_request import NAMES, NUMBERS, STRINGS, comparable, same

TIMES = Times(queue_ns=1_500_000, compute_ns=2_999)


def parse(message):
    return pb.ModelInferResponse.FromString(message)


@given(st.dictionaries(NAMES, NUMBERS | STRINGS, max_size=4), st.text(max_size=10), st.booleans())
def test_what_is_written_is_what_a_client_reads(outputs, request_id, is_final):
    outputs = {name: comparable(array) for name, array in outputs.items()}
    writer = ReplyWriter("toptag", "1")
    for _ in range(2):
        message = writer.write(
            request_id.encode(), [(name, array, None) for name, array in outputs.items()], TIMES, is_final=is_final
        )
        response = parse(message)
        result = InferResult(response)
        assert (response.model_name, response.model_version, response.id) == ("toptag", "1", request_id)
        for name, array in outputs.items():
            assert same(np.asarray(result.as_numpy(name)), array)
        assert response.parameters["queue_us"].int64_param == 1500
        assert response.parameters["compute_us"].int64_param == 2
        assert ("triton_final_response" in response.parameters) == is_final


def test_large_and_strided_outputs():
    large = np.arange(50_000, dtype="float64").reshape(100, 500)
    outputs = [("large", large, None), ("strided", large[::2, ::3], None), ("swapped", large.astype(">f8"), None)]
    result = InferResult(parse(ReplyWriter("m", "1").write(b"", outputs, TIMES)))
    for name, array, _ in outputs:
        np.testing.assert_array_equal(result.as_numpy(name), array)


def test_outputs_in_shared_memory_are_only_named():
    where = SharedRange("region", 16, 24)
    response = parse(ReplyWriter("m", "1").write(b"", [("y", np.zeros(3), where)], TIMES))
    parameters = response.outputs[0].parameters
    assert (parameters["shared_memory_region"].string_param, parameters["shared_memory_offset"].int64_param) == (
        "region",
        16,
    )
    assert list(response.raw_output_contents) == [b""]


def test_a_type_that_the_protocol_does_not_have():
    with pytest.raises(BadReply, match=r"'y'.*complex128"):
        ReplyWriter("m", "1").write(b"", [("y", np.zeros(3, complex), None)], TIMES)
