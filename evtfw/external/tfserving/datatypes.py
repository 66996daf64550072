"""TensorFlow's element types and numpy's."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_NAMES: Final = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    7: "O",
    8: "<c8",
    9: "<i8",
    10: "?",
    17: "<u2",
    18: "<c16",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
_QUANTISED: Final = {11: "i1", 12: "u1", 13: "<i4", 15: "<i2", 16: "<u2"}

STRING: Final = 7

DTYPES: Final[dict[int, np.dtype[Any]]] = {number: np.dtype(name) for number, name in (_NAMES | _QUANTISED).items()}
"""Numpy's types by the numbers of ``tensorflow.DataType``; strings are objects of `bytes`, quantised types integers."""

_NUMBERS: Final = {np.dtype(name): number for number, name in _NAMES.items()}


def datatype_of(dtype: np.dtype[Any]) -> int:
    """Return TensorFlow's number of a type.

    Raises:
        ValueError: it has none.

    >>> datatype_of(np.dtype("float32")), datatype_of(np.dtype(">f4")), datatype_of(np.dtype("U3"))
    (1, 1, 7)
    """
    if dtype.kind in "OSU":
        return STRING
    number = _NUMBERS.get(dtype.newbyteorder("<"))
    if number is None:
        raise ValueError(f"TensorFlow Serving has no type for {dtype}")
    return number


def dtype_of(number: int) -> np.dtype[Any]:
    """Return numpy's type for a number. Raises ValueError if there is none."""
    dtype = DTYPES.get(number)
    if dtype is None:
        raise ValueError(f"tensorflow.DataType {number} has no type in numpy")
    return dtype
