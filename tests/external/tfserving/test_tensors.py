"""Arrays and TensorProto, against protobuf's own reading and writing."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evtfw.external.tfserving.datatypes import DTYPES, datatype_of
from evtfw.external.tfserving.messages import TensorProto
from evtfw.external.tfserving.tensors import read_tensor, write_tensor

NUMBERS = [dtype for number, dtype in DTYPES.items() if number < 11 or number > 16 if dtype.kind != "O"]


def proto(dtype, shape, **values):
    tensor = TensorProto(dtype=datatype_of(np.dtype(dtype)), **values)
    for length in shape:
        tensor.tensor_shape.dim.add(size=length)
    return tensor.SerializeToString()


SHAPES = arrays.array_shapes(min_dims=0, min_side=0)


@given(st.sampled_from(NUMBERS).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)))
def test_what_is_written_is_read_back_and_is_what_protobuf_reads(array):
    message = b"".join(write_tensor(array))
    back = read_tensor(message)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    tensor = TensorProto.FromString(message)
    assert tensor.tensor_content == array.tobytes()
    assert [axis.size for axis in tensor.tensor_shape.dim] == list(array.shape)


def test_numbers_are_not_copied():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert write_tensor(array)[-1] is array
    message = b"".join(write_tensor(array))
    assert not read_tensor(message).flags.owndata
    assert not read_tensor(message).flags.writeable


def test_any_layout_is_written_row_by_row_and_little_endian():
    array = np.arange(12, dtype=">i4").reshape(3, 4).T
    assert read_tensor(b"".join(write_tensor(array))).tolist() == array.tolist()
    assert read_tensor(b"".join(write_tensor(array[::2, 1:]))).tolist() == array[::2, 1:].tolist()


@pytest.mark.parametrize("strings", [[b"a", b""], ["\u00e9", "b"], np.array([b"ab", b"c"]), np.array(["x", "yz"])])
def test_strings_are_bytes(strings):
    array = strings if isinstance(strings, np.ndarray) else np.array(strings, object)
    wanted = [value if isinstance(value, bytes) else value.encode() for value in array.tolist()]
    assert read_tensor(b"".join(write_tensor(array))).tolist() == wanted


def test_what_is_no_string_is_refused():
    with pytest.raises(ValueError, match="not int"):
        write_tensor(np.array([1], object))
    with pytest.raises(ValueError, match="no type for datetime64"):
        write_tensor(np.zeros(1, "M8[s]"))


@pytest.mark.parametrize(
    ("dtype", "field", "values", "wanted"),
    [
        ("f4", "float_val", [1.5, 2, 3], [1.5, 2, 3]),
        ("f8", "double_val", [1.5, 2, 3], [1.5, 2, 3]),
        ("f4", "float_val", [7], [7, 7, 7]),
        ("f4", "float_val", [1, 2], [1, 2, 2]),
        ("f4", "float_val", [], [0, 0, 0]),
        ("i4", "int_val", [-1, 2, 3], [-1, 2, 3]),
        ("u1", "int_val", [255, 2, 3], [255, 2, 3]),
        ("i8", "int64_val", [-(2**60), 2, 3], [-(2**60), 2, 3]),
        ("u4", "uint32_val", [2**32 - 1, 2, 3], [2**32 - 1, 2, 3]),
        ("u8", "uint64_val", [2**64 - 1, 2, 3], [2**64 - 1, 2, 3]),
        ("?", "bool_val", [True, False, True], [True, False, True]),
        ("f2", "half_val", [0x3C00, 0xC000], [1, -2, -2]),
        ("c8", "scomplex_val", [1, 2, 3, 4, 5, 6], [1 + 2j, 3 + 4j, 5 + 6j]),
        ("c16", "dcomplex_val", [1, 2], [1 + 2j] * 3),
        ("O", "string_val", [b"a", b"b", b"c"], [b"a", b"b", b"c"]),
        ("O", "string_val", [b"a"], [b"a"] * 3),
    ],
)
def test_values_in_fields_of_their_type(dtype, field, values, wanted):
    array = read_tensor(proto(dtype, [3, 1], **{field: values}))
    assert array.dtype == np.dtype(dtype)
    assert array.tolist() == [[value] for value in wanted]


def test_strings_in_the_content():
    assert read_tensor(proto("O", [2], tensor_content=b"\x01\x02abc")).tolist() == [b"a", b"bc"]


@pytest.mark.parametrize(
    "message",
    [
        proto("f4", [2], tensor_content=b"1234"),
        proto("f4", [1], float_val=[1, 2]),
        proto("f4", [-1], tensor_content=b"1234"),
        proto("f4", [1 << 62, 4], float_val=[1]),
        proto("f4", [1 << 30], float_val=[1]),
        proto("i1", [1], int_val=[300]),
        proto("c8", [1], scomplex_val=[1]),
        proto("O", [1 << 27], tensor_content=b"\x01a"),
        proto("O", [2], tensor_content=b"\x01\x02ab"),
        TensorProto(dtype=14).SerializeToString(),
        TensorProto(dtype=99).SerializeToString(),
        TensorProto(dtype=1, tensor_shape={"unknown_rank": True}).SerializeToString(),
        proto("f4", [1] * 40, tensor_content=b"1234"),
        b"\x22\x05abc",
        b"\xff" * 20,
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_allocated(message):
    with pytest.raises(ValueError, match=r"tensor|number|field|message|strings|bytes"):
        read_tensor(message)


@given(st.binary(max_size=60))
def test_nothing_but_valueerror_comes_of_rubbish(message):
    with contextlib.suppress(ValueError):
        assert read_tensor(message, max_bytes=1000).nbytes <= 1000
