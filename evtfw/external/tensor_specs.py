"""Tensors as an URL writes them, ``probability:float32[?,2];mass:float32[?]``, and zeros of their shapes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.external.contract import Tensors, TensorSpec
from evtfw.external.urls import BackendUrl


def parse_tensor_specs(url: BackendUrl, text: str) -> tuple[TensorSpec, ...]:
    """Read ``NAME:DTYPE[AXES]``, separated by semicolons; ``?`` or -1 is an axis of any length.

    Raises:
        ValueError: naming the part that is no tensor.

    >>> from evtfw.external.urls import parse_url
    >>> print(*parse_tensor_specs(parse_url("mock:m"), "image:float32[?,8,8];n:int64[-1]"), sep="; ")
    image: float32 [?, 8, 8]; n: int64 [?]
    """
    specs = []
    for part in filter(None, text.split(";")):
        match = re.fullmatch(r"([^:\[\]]+):(\w+)\[([-?,\d\s]*)\]", part)
        try:
            if match is None:
                raise ValueError
            axes = [axis.strip() for axis in match[3].split(",") if axis.strip()]
            shape = tuple(None if axis == "?" else int(axis) for axis in axes)
            specs.append(TensorSpec(match[1], np.dtype(match[2]), shape))
        except (ValueError, TypeError):
            raise ValueError(f"'{url}': '{part}' is no tensor; write NAME:DTYPE[?,64,64,1]") from None
    return tuple(specs)


def zeros(specs: tuple[TensorSpec, ...], inputs: Tensors) -> dict[str, NDArray[Any]]:
    """Return zeros for all outputs, with as many rows as the inputs have."""
    rows = max((len(array) for array in inputs.values() if array.ndim), default=1)
    return {spec.name: np.zeros([rows, *(n or 0 for n in spec.shape[1:])], spec.dtype) for spec in specs}
