from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from evtfw.external.traffic.tensors import NotRecordable, pack, request_key, unpack

NUMBERS = npst.arrays(
    st.sampled_from(["?", "i1", "u2", "<i4", ">i8", "f2", "<f4", ">f8", "c8", "S3", "U2"]),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
STRINGS = st.lists(st.binary(max_size=5) | st.text(max_size=5), max_size=6).map(
    lambda values: np.array([*values, None], dtype=object)[:-1]
)


def same(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tolist() == theirs.tolist() if ours.dtype == object else ours.tobytes() == theirs.tobytes()


@given(st.dictionaries(st.text(max_size=4), NUMBERS | STRINGS, max_size=4))
def test_arrays_come_back_bit_for_bit(tensors):
    signature, parts = pack(tensors)
    again = unpack(signature, b"".join(bytes(part) for part in parts))
    assert set(again) == set(tensors)
    for name, array in tensors.items():
        same(array, again[name])
    assert request_key("m", signature, parts) == request_key("m", *pack(again))


def test_the_key_knows_model_names_types_shapes_and_values():
    x = np.arange(6, dtype=np.float32)
    requests = [
        ("m", {"x": x}),
        ("n", {"x": x}),
        ("m", {"y": x}),
        ("m", {"x": x.view(np.int32)}),
        ("m", {"x": x.reshape(2, 3)}),
        ("m", {"x": -x}),
        ("m", {"x": x[::-1]}),
        ("m", {"x": x, "y": x[:0]}),
        ("m", {"x": np.array(["a"], object)}),
        ("m", {"x": np.array([b"a"], object)}),
    ]
    assert len({request_key(model, *pack(tensors)) for model, tensors in requests}) == len(requests)
    both = {"x": x, "y": x[:2]}
    assert request_key("m", *pack(both)) == request_key("m", *pack(dict(reversed(both.items()))))


@pytest.mark.parametrize("array", [np.array([1, "a"], object), np.zeros(2, "V4"), np.zeros(1, [("a", "f4")])])
def test_other_objects_are_refused(array):
    with pytest.raises(NotRecordable, match="tensor 'x'"):
        pack({"x": array})


@pytest.mark.parametrize(
    "signature",
    [
        [["x", "<f4", [2], 4]],
        [["x", "<f4", [-1], 4]],
        [["x", "<f4", [1 << 62, 4], 4]],
        [["x", "<f4", [4], 16]],
        [["x", "O", [1], 8]],
        [["x", "V4", [2], 8]],
        [["x", "evil", [2], 8]],
    ],
)
def test_a_description_that_does_not_fit_is_refused(signature):
    with pytest.raises(ValueError, match=r"tensor 'x'|string"):
        unpack(signature, b"\x00" * 8)
