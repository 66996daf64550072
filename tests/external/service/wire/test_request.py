"""Requests made by tritonclient's own protobufs, read by our parser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evtfw.core.errors import BadRequest
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.request import RequestReader
from tests.external.service.wire.messages import one, request

DTYPES = [*"?bhiqBHIQ", "float32", "float64"]
NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=("L", "N", "P")), min_size=1, max_size=12
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NUMBERS = hnp.arrays(st.sampled_from(DTYPES).map(np.dtype), SHAPES)
STRINGS = hnp.arrays(object, SHAPES, elements=st.binary(max_size=9))


def read(message, **options):
    return RequestReader(Limits(**options)).read(message.SerializeToString())


def same(found, given):
    return found.shape == given.shape and found.dtype == given.dtype and found.tolist() == given.tolist()


def comparable(array):
    return np.nan_to_num(array) if array.dtype.kind == "f" else array


@given(st.dictionaries(NAMES, NUMBERS | STRINGS, max_size=4), st.booleans(), st.text(max_size=10), st.sets(NAMES))
def test_what_a_client_sends_is_what_is_read(inputs, is_typed, request_id, outputs):
    inputs = {name: comparable(array) for name, array in inputs.items()}
    reader = RequestReader(Limits())
    message = request(
        inputs, request_id=request_id, outputs=sorted(outputs), typed=is_typed, version="3"
    ).SerializeToString()
    for _ in range(2):  # the second time its head is known
        found = reader.read(message)
        assert found.inputs.keys() == inputs.keys()
        assert all(same(found.inputs[name], array) for name, array in inputs.items())
        assert (found.id.decode(), found.head.model, found.head.version) == (request_id, "toptag", "3")
        assert [output.name for output in found.head.outputs] == sorted(outputs)


@given(hnp.arrays(np.float16, SHAPES))
def test_half_precision_is_read_from_raw_contents(array):
    array = comparable(array)
    assert same(read(request({"x": array})).inputs["x"], array)


def test_contents_are_not_copied():
    message = one((64, 64)).SerializeToString()
    array = RequestReader(Limits()).read(message).inputs["x"]
    whole = np.frombuffer(message, np.uint8)
    assert np.shares_memory(array, whole)
    assert not array.flags.writeable


def test_typed_floats_are_not_copied():
    message = one((64, 64), typed=True).SerializeToString()
    assert np.shares_memory(RequestReader(Limits()).read(message).inputs["x"], np.frombuffer(message, np.uint8))


def test_parameters_of_a_request():
    head = read(one(parameters={"priority": 2, "timeout": 1500, "other": "x"})).head
    assert (head.priority, head.timeout_s) == (2, pytest.approx(1500e-6))


def test_a_known_head_is_still_checked_against_its_contents():
    reader = RequestReader(Limits())
    message = one()
    reader.read(message.SerializeToString())
    message.raw_input_contents[0] += b"x"
    with pytest.raises(BadRequest, match=r"25 bytes of contents.*need 24"):
        reader.read(message.SerializeToString())


def test_order_of_fields_does_not_matter():
    message = one(request_id="7")
    raw = type(message)(raw_input_contents=message.raw_input_contents)
    message.ClearField("raw_input_contents")
    found = RequestReader(Limits()).read(raw.SerializeToString() + message.SerializeToString())
    assert (found.id, found.inputs["x"].shape) == (b"7", (2, 3))


def test_bools_are_bools_whatever_their_byte():
    message = one((3,), bool)
    message.raw_input_contents[0] = b"\x00\x01\x07"
    assert read(message).inputs["x"].view(np.uint8).tolist() == [0, 1, 1]


def test_pickles_in_strings_stay_bytes():
    import pickle

    content = pickle.dumps(print)
    assert read(request({"x": np.array([content], object)})).inputs["x"].tolist() == [content]
