"""Values in a dump: what Python makes of the text is the value."""

import functools
import math
import pathlib
import re
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest

from evtfw.core.dump_imports import Imports
from evtfw.core.dump_values import write_value
from tests.core.dump_samples import Binning, Bits, ByRepr, Colour, Model, Point, chain, evaluated, function


@pytest.mark.parametrize(
    "value",
    [
        None,
        ...,
        True,
        -3,
        1e-05,
        float("inf"),
        2 - 3j,
        'it\'s "quoted"\n\t\\ é',
        b"bytes '\"",
        b"\xff\x00",
        (),
        (1,),
        [1, (2, [3])],
        {"a": {1: 2.5}, (1, 2): None},
        {3, 1, 2},
        set(),
        frozenset({"a"}),
        pathlib.Path("/tmp/a.root"),
        pathlib.PureWindowsPath("c:/x"),
        Colour.RED,
        Bits.A | Bits.B,
        re.IGNORECASE,
        Point(1.0, 2.0),
        Binning(3, (0.5,)),
        Model(name="m", points=[1]),
        Fraction(1, 3),
        timedelta(days=1),
        range(1, 5, 2),
        re.compile("a+", re.IGNORECASE),
        int,
        function,
        len,
        math.sqrt,
        np.log,
        np.float32,
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_values(value):
    made = evaluated(value)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.1),
        np.int8(3),
        np.bool_(True),
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 3), "int16"),
        np.array(["a", "bc"]),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_numpy_values(value):
    made = evaluated(value)
    assert made.dtype == value.dtype
    assert made.shape == value.shape
    assert np.array_equal(made, value)


def test_values_known_by_their_text():
    assert math.isnan(evaluated(float("nan")))
    assert evaluated(np.dtype("float32")) == np.dtype("float32")
    assert repr(evaluated(ByRepr([1], b=ByRepr((2,))))) == "ByRepr([1], b=ByRepr((2,), b=None))"
    assert str(write_value(chain("a", "b"), Imports())) == 'chain("a", "b")'
    assert evaluated(chain("a")) == chain("a")
    made = evaluated(functools.partial(function, x=3))
    assert (made.func, made.keywords) == (function, {"x": 3})
    assert evaluated(ByRepr.make)().a == 0
