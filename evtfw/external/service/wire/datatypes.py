"""Triton's names of element types, and numpy's."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from evtfw.core.errors import BadRequest
from evtfw.external.service.wire.names import shown
from evtfw.external.triton import datatypes

DTYPES: Final = {name: dtype for name, dtype in datatypes.DTYPES.items() if name != datatypes.BF16}
"""Numpy's element types by Triton's names; strings are objects of `bytes`. Numpy has no bfloat16."""
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


def dtype_of(datatype: str, tensor: str) -> np.dtype[Any]:
    """Return numpy's type for Triton's name. Raises BadRequest, which names the tensor."""
    try:
        return DTYPES[datatype]
    except KeyError:
        raise BadRequest(
            f"input {shown(tensor)} has the datatype {shown(datatype)}; known: {', '.join(DTYPES)}"
        ) from None


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return Triton's name of a numpy type.

    Raises:
        ValueError: the protocol has none for it.

    >>> datatype_of(np.dtype("float32")), datatype_of(np.dtype("S5"))
    ('FP32', 'BYTES')
    """
    if dtype.kind in "OSU":
        return "BYTES"
    name = _NAMES.get(dtype.newbyteorder("<"))
    if name is None:
        raise ValueError(f"the protocol has no datatype for {dtype}")
    return name
