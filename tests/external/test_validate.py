from __future__ import annotations

import numpy as np
import pytest

from evtfw.core.errors import BadReply, BadRequest
from evtfw.external.contract import ModelDescription, TensorSpec
from evtfw.external.validate import Validator, nonfinite_names

IMAGE = TensorSpec("image", np.dtype("float32"), (None, 4, 4))
MASK = TensorSpec("mask", np.dtype("bool"), (None, 4))
POINTS = TensorSpec("points", np.dtype("float32"), (None, None, 3))
SCORE = TensorSpec("score", np.dtype("float32"), (None, 2))


def validator(*inputs, limit=None):
    return Validator(ModelDescription("m", inputs=inputs, outputs=(SCORE,), max_batch_size=limit), "cpu:m")


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def test_a_request_that_fits_gives_its_rows():
    assert validator(IMAGE).rows_of_request({"image": zeros(5, 4, 4)}) == 5
    assert validator(IMAGE).rows_of_request({"image": zeros(0, 4, 4)}) == 0
    assert validator(IMAGE, MASK).rows_of_request({"image": zeros(2, 4, 4), "mask": zeros(2, 4, dtype=bool)}) == 2
    assert validator(POINTS).rows_of_request({"points": zeros(2, 77, 3)}) == 2


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"input 'image: float32 \[\?, 4, 4\]' is missing"),
        ({"imag": zeros(1, 4, 4)}, "there is no input 'imag'; did you mean 'image'"),
        ({"image": zeros(1, 4, 4), "extra": zeros(1)}, "there is no input 'extra'"),
        ({"image": zeros(1, 4, 5)}, r"input 'image': expected float32 \[\?, 4, 4\], got float32 \[1, 4, 5\]"),
        ({"image": zeros(4, 4)}, r"got float32 \[4, 4\]"),
        ({"image": zeros(1, 4, 4, dtype="float64")}, r"got float64 \[1, 4, 4\]"),
        ({"image": zeros(1, 4, 4, dtype=">f4")}, "got >f4"),
        ({"image": [[1.0]]}, "got a list"),
        ([zeros(1, 4, 4)], "a mapping from input names to arrays is needed, not a list"),
    ],
)
def test_a_request_that_does_not_fit_says_why(inputs, message):
    with pytest.raises(BadRequest, match=rf"request to cpu:m \(model 'm'\): .*{message}"):
        validator(IMAGE).rows_of_request(inputs)


def test_all_inputs_have_the_same_number_of_rows():
    with pytest.raises(BadRequest, match="input 'mask': expected 2 rows as in the others, got 3"):
        validator(IMAGE, MASK).rows_of_request({"image": zeros(2, 4, 4), "mask": zeros(3, 4, dtype=bool)})
    with pytest.raises(BadRequest, match="input 'mask': expected 2 rows"):
        validator(POINTS, MASK).rows_of_request({"points": zeros(2, 5, 3), "mask": zeros(3, 4, dtype=bool)})


def test_a_request_above_the_limit_is_refused_here():
    with pytest.raises(BadRequest, match="9 rows, but the model takes 8 at most"):
        validator(IMAGE, limit=8).rows_of_request({"image": zeros(9, 4, 4)})


def test_without_a_batch_axis_a_request_is_one_row():
    whole = Validator(ModelDescription("m", inputs=(TensorSpec("x", np.dtype("f4"), (2, None)),)), "cpu:m")
    assert whole.rows_of_request({"x": zeros(2, 9)}) == 1
    with pytest.raises(BadRequest, match=r"expected float32 \[2, \?\], got float32 \[3, 9\]"):
        whole.rows_of_request({"x": zeros(3, 9)})


def test_an_unknown_model_takes_any_arrays_but_only_arrays():
    unknown = Validator(ModelDescription("m", max_batch_size=None), "mock:m")
    assert unknown.rows_of_request({"a": zeros(3, 1), "b": zeros(3)}) == 3
    unknown.check_reply({"whatever": zeros(7)}, 3)
    with pytest.raises(BadRequest, match="input 'a': expected an array, got a int"):
        unknown.rows_of_request({"a": 3})


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"scores": zeros(2, 2)}, "there is no output 'scores'; did you mean 'score'"),
        ({}, "is missing"),
        ({"score": zeros(2, 3)}, r"expected float32 \[\?, 2\], got float32 \[2, 3\]"),
        ({"score": zeros(2, 2, dtype="int32")}, r"got int32 \[2, 2\]"),
        ({"score": zeros(3, 2)}, "3 rows instead of the 2 of the request"),
    ],
)
def test_a_reply_that_does_not_fit_says_why(outputs, message):
    with pytest.raises(BadReply, match=rf"reply of cpu:m \(model 'm'\): .*{message}"):
        validator(IMAGE).check_reply(outputs, 2)


def test_a_reply_that_fits_is_accepted():
    validator(IMAGE).check_reply({"score": zeros(2, 2)}, 2)


def test_empty_outputs_have_the_right_shape_and_dtype():
    outputs = validator(IMAGE).empty_outputs()
    assert outputs["score"].shape == (0, 2)
    assert outputs["score"].dtype == np.float32


def test_nan_and_infinity_are_found_and_large_values_are_not_taken_for_them():
    outputs = {
        "nan": np.array([1.0, np.nan]),
        "inf": np.array([[np.inf]], dtype=np.float16),
        "large": np.full(10, 3e38, dtype=np.float32),
        "integer": np.array([1, 2]),
        "none": np.empty(0),
    }
    assert nonfinite_names(outputs) == ("nan", "inf")
