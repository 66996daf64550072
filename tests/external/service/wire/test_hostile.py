"""Rows 41, 42, 44 and 47 of the table of faults: an exact error, before memory of the size asked for is taken."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from tritonclient.grpc import service_pb2 as pb

from evtfw.core.errors import BadRequest
from evtfw.external.protobuf_wire import text, varint
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.request import RequestReader
from tests.external.service.wire.messages import one

KIB = 1 << 10


def refused(message, **options):
    """The error; what was allocated on the way is small beside the message."""
    content = message if isinstance(message, bytes) else message.SerializeToString()
    reader = RequestReader(Limits(**options))
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest) as caught:
            reader.read(content)
        assert tracemalloc.get_traced_memory()[1] < 256 * KIB + 2 * len(content)
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def with_shape(*shape, datatype="FP32", **options):
    message = one(**options)
    message.inputs[0].shape[:] = shape
    message.inputs[0].datatype = datatype
    return message


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ([-1, 3], "negative axis"),
        ([-(2**63)], "negative axis"),
        ([0, -1], "negative axis"),
        ([2**62, 2**62], "more than"),
        ([2**32, 2**32], "more than"),
        ([2**63 - 1], "more than"),
        ([0, 2**62], "more than"),
        ([65536] * 16, "more than"),
        ([1] * 17, "17 axes; at most 16"),
        ([2, 4], "24 bytes of contents.*need 32"),
        ([2**29], "24 bytes of contents.*need 2147483648"),
    ],
)
def test_shapes(shape, says):
    message = refused(with_shape(*shape))
    assert "input 'x'" in message
    assert re.search(says, message)


@pytest.mark.parametrize("shape", [[2**29], [2**62, 2**62], [-1]])
def test_shapes_of_typed_contents_and_strings(shape):
    refused(with_shape(*shape, typed=True))
    refused(with_shape(*shape, datatype="BYTES"))


def test_lengths_of_strings():
    message = with_shape(2, datatype="BYTES")
    for content in (b"", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00a\xff\xff\xff\x7f", b"\0" * 9):
        message.raw_input_contents[0] = content
        assert "2 strings" in refused(message)


@pytest.mark.parametrize("name", ["", "../etc", "a/b", "a\\b", "a\0b", ".hidden", "x" * 600, "a\nb"])
def test_names_of_models(name):
    assert "model name" in refused(one(model=name))


@pytest.mark.parametrize("version", ["../1", "-1", "1/2", "\0", "1" * 100])
def test_versions_of_models(version):
    assert "version" in refused(one(version=version))


def test_names_that_are_not_utf8():
    assert "UTF-8" in refused(text(1, b"\xff\xfe") + one().SerializeToString()[8:])
    assert "id is not UTF-8" in refused(one().SerializeToString() + text(3, b"\xff"))


def test_long_ids_and_names():
    assert "request id" in refused(one(request_id="i" * 1000))
    message = one()
    message.inputs[0].name = "n" * 1000
    assert "name of an input" in refused(message)


def test_duplicates():
    message = one()
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])
    assert "input 'x' is given twice" in refused(message)
    assert "output 'y' is given twice" in refused(one(outputs=["y", "y"]))


def test_many_outputs():
    assert "more than 256 outputs" in refused(one(outputs=[f"y{n}" for n in range(100_000)]))


def test_many_inputs_parameters_and_unknown_fields():
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.extend([message.InferInputTensor(name=str(n)) for n in range(1000)])
    assert "more than 256 inputs" in refused(message)
    assert "more than 64 parameters" in refused(one(parameters={str(n): n for n in range(100)}))
    assert "more than 1024 fields" in refused(b"\xf8\x01\x00" * 100_000)
    message = one()
    for n in range(100):
        message.inputs[0].parameters[str(n)].int64_param = n
    assert "input 'x' has 100 parameters" in refused(message)


def test_deep_parameters():
    nested = b""
    for _ in range(5000):
        nested = text(2, nested)
    assert "bytes beside the contents" in refused(text(4, nested * 20))
    groups = b"\xa3\x06" * 10_000 + b"\xa4\x06" * 10_000
    assert "wire type 3" in refused(groups)
    assert "no valid ModelInferRequest" in refused(text(1, b"m") + text(4, groups))


def test_a_large_head():
    assert "65536 bytes beside" in refused(text(1, b"x" * 100_000))
    message = one()
    message.inputs[0].name = "x" * 100_000
    assert "65536 bytes beside" in refused(message)


def test_large_messages():
    assert "at most 1000 are allowed" in refused(one((1000,)), message_bytes=1000)


@pytest.mark.parametrize("end", range(1, 40))
def test_truncated_messages(end):
    content = one(request_id="7", outputs=["y"]).SerializeToString()
    refused(content[: -min(end, len(content))])


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"\x80" * 11, b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x00\x00", b"\x09\x01"],
)
def test_broken_fields(content):
    refused(content)


@pytest.mark.parametrize("count", [0, 2])
def test_contents_for_another_number_of_inputs(count):
    message = one()
    contents = list(message.raw_input_contents) * count
    message.ClearField("raw_input_contents")
    message.raw_input_contents.extend(contents)
    assert f"{count} raw_input_contents for 1 inputs" in refused(message)


def test_both_kinds_of_contents():
    message = one(typed=True)
    message.raw_input_contents.append(bytes(24))
    assert "send one of them" in refused(message)


def test_contents_of_another_type():
    message = one((2,), typed=True)
    message.inputs[0].datatype = "INT32"
    assert "has fp32_contents; its datatype needs int_contents" in refused(message)
    message.inputs[0].datatype = "FP16"
    assert "send raw_input_contents" in refused(message)
    message.inputs[0].datatype = "OBJECT"
    assert "has the datatype 'OBJECT'" in refused(message)


def test_numbers_that_do_not_fit():
    message = one((1,), "int8", typed=True)
    message.inputs[0].contents.int_contents[0] = 300
    assert "cannot hold" in refused(message)


@pytest.mark.parametrize("packed", [b"\x80", b"\x80" * 11 + b"\x01", b"\x01\x01", b"\x01\x80", b""])
def test_broken_numbers(packed):
    tensor = text(1, b"x") + text(2, b"INT32") + text(3, varint(1))
    refused(text(1, b"m") + text(5, tensor + text(5, text(2, packed))))


def test_shared_memory_is_off():
    message = one()
    message.ClearField("raw_input_contents")
    message.inputs[0].parameters["shared_memory_region"].string_param = "region"
    message.inputs[0].parameters["shared_memory_byte_size"].int64_param = 24
    assert "switched off" in refused(message)


@pytest.mark.parametrize("value", [-1, 1 << 62])
def test_offsets_in_shared_memory(value):
    message = one()
    message.ClearField("raw_input_contents")
    parameters = message.inputs[0].parameters
    parameters["shared_memory_region"].string_param = "region"
    parameters["shared_memory_byte_size"].int64_param = value
    refused(message)


def test_priority_that_is_no_number():
    assert "'priority' must be a whole number" in refused(one(parameters={"priority": "high"}))
    assert "'timeout' must be a whole number" in refused(one(parameters={"timeout": -1}))


def test_many_heads_are_not_remembered():
    reader = RequestReader(Limits())
    for n in range(1000):
        reader.read(one(model=f"m{n}").SerializeToString())
    assert len(reader._known) <= 256
