"""What a branch, field or Parquet column is to a module: its type, and the column of a chunk."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from evtfw.core.source import Column, JaggedColumn
from evtfw.io.columns import AwkwardColumn, StringColumn, array_type, read_only


def type_of_form(form: ak.forms.Form) -> Any:
    """Return what ``column[row]`` gives for data of this form: a NumPy scalar or array, str, or an awkward array.

    >>> type_of_form(ak.forms.from_type(ak.types.NumpyType("int32")))
    <class 'numpy.int32'>
    """
    if form.parameter("__array__") == "string":
        return str
    dtype = _dtype_of(form)
    if dtype is not None:
        return dtype.type if form.is_numpy and not form.inner_shape else array_type(dtype)
    if form.is_list and (dtype := _dtype_of(form.content)) is not None:
        return array_type(dtype)
    return ak.Array


def _dtype_of(form: ak.forms.Form) -> np.dtype[Any] | None:
    """Return the dtype of numbers in lists of a fixed size, or None if it is anything else."""
    while form.is_regular and form.parameter("__array__") is None:
        form = form.content
    if not form.is_numpy or form.parameter("__array__") is not None:
        return None
    dtype: np.dtype[Any] = np.dtype(ak.types.numpytype.primitive_to_dtype(form.primitive))
    return dtype


def column_of(array: ak.Array) -> Column:
    """Make the column of a chunk, once per chunk; contents are shared with the array and are not copied.

    Args:
        array: one value per event: numbers, lists of numbers, arrays of a fixed size, strings, or anything nested.
    """
    layout = array.layout
    while layout.is_indexed and not layout.is_option:
        layout = layout.project()
    if layout.is_list and not layout.is_regular:
        layout = layout.to_ListOffsetArray64(start_at_zero=False)
        content, offsets = layout.content, layout.offsets.data
        if layout.parameter("__array__") == "string":
            return StringColumn(content.data, offsets)
        if _dtype_of(content.form) is not None:
            return JaggedColumn(ak.to_numpy(content), offsets)
    elif _dtype_of(layout.form) is not None:
        return read_only(ak.to_numpy(layout))
    return AwkwardColumn(array)
