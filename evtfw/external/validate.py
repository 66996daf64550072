"""Whether requests and replies fit a model's description. Shared by all backends, so that all say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import BadReply, BadRequest, nearest
from evtfw.external.contract import ModelDescription, Tensors, TensorSpec

NonFinite: TypeAlias = Literal["fail", "flag", "pass"]
"""What to do about NaN and infinity in a reply: fail the request, note it in `Reply.nonfinite`, or do not look."""
NON_FINITE_POLICIES: tuple[NonFinite, ...] = get_args(NonFinite)

_FEW: Final = 32


class Validator:
    """Checks tensors against a description that was prepared once; about a microsecond per request.

    Args:
        description: of the model. Without inputs (or outputs) in it, any request (or reply) fits.
        backend: for messages, its URL.
    """

    __slots__ = ("_inputs", "_max_rows", "_outputs", "backend", "description")

    def __init__(self, description: ModelDescription, backend: str) -> None:
        self.description = description
        self.backend = backend
        self._inputs = _Side(description.inputs, description.is_batched)
        self._max_rows = description.max_batch_size
        self._outputs = _Side(description.outputs, description.is_batched)

    def rows_of_request(self, inputs: Tensors) -> int:
        """Check a request and return its number of rows (1 if the model has no batch axis).

        Raises:
            BadRequest: naming the tensor, what is expected and what was given.
        """
        rows = self._inputs.rows(inputs)
        if rows is not None and (not self._max_rows or rows <= self._max_rows):
            return rows
        where = f"request to {self.backend} (model '{self.description.name}')"
        if rows is None:
            raise BadRequest(f"{where}: {self._inputs.problem(inputs, 'input')}")
        raise BadRequest(f"{where}: {rows} rows, but the model takes {self._max_rows} at most; send fewer at once")

    def check_reply(self, outputs: Tensors, rows: int) -> None:
        """Check a reply to a request with so many rows.

        Raises:
            BadReply: naming the tensor, what is expected and what came.
        """
        found = self._outputs.rows(outputs)
        if found is not None and (found == rows or not self.description.is_batched or not self.description.outputs):
            return
        where = f"reply of {self.backend} (model '{self.description.name}')"
        if found is None:
            raise BadReply(f"{where}: {self._outputs.problem(outputs, 'output')}")
        raise BadReply(f"{where}: {found} rows instead of the {rows} of the request")

    def empty_outputs(self) -> dict[str, NDArray[Any]]:
        """Return the outputs for a request without rows: right names, dtypes and shapes, nothing in them."""
        return {
            spec.name: np.empty((0, *(n or 0 for n in spec.shape[1:])), spec.dtype) for spec in self.description.outputs
        }


class _Side:
    """The inputs or the outputs of a model, prepared for a quick check."""

    __slots__ = ("_quick", "_specs", "is_batched")

    def __init__(self, specs: tuple[TensorSpec, ...], is_batched: bool) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self.is_batched = is_batched
        self._quick: list[tuple[str, np.dtype[Any], int, list[tuple[int, int]]]] | None = None
        """Of each tensor: its name, its dtype, how many axes it has, and those whose length is given."""
        if specs and all(spec.shape and spec.shape[0] is None for spec in specs if is_batched):
            self._quick = [
                (spec.name, spec.dtype, len(spec.shape), [(i, n) for i, n in enumerate(spec.shape) if n is not None])
                for spec in specs
            ]

    def rows(self, tensors: Tensors) -> int | None:
        """Return the common number of rows, or None if something does not fit."""
        if self._quick is None:
            return None if self.problem(tensors, "") else self._first_length(tensors)
        rows = None if self.is_batched else 1
        try:
            if len(tensors) != len(self._quick):
                return None
            for name, dtype, axes, lengths in self._quick:
                array = tensors[name]
                shape = array.shape
                if array.dtype != dtype or len(shape) != axes:
                    return None
                for axis, length in lengths:
                    if shape[axis] != length:
                        return None
                if self.is_batched:
                    if rows is not None and shape[0] != rows:
                        return None
                    rows = shape[0]
        except (KeyError, AttributeError, TypeError):
            return None
        return rows

    def _first_length(self, tensors: Tensors) -> int:
        return next((len(array) for array in tensors.values() if array.ndim), 1) if self.is_batched else 1

    def problem(self, tensors: object, kind: str) -> str:
        """Say what does not fit; empty if all does."""
        if not isinstance(tensors, Mapping):
            return f"a mapping from {kind} names to arrays is needed, not a {type(tensors).__name__}"
        for name in tensors:
            if self._specs and name not in self._specs:
                return f"there is no {kind} '{name}'{nearest(str(name), self._specs)}"
        for name, spec in self._specs.items():
            if name not in tensors:
                return f"{kind} '{spec}' is missing"
        rows: int | None = None
        for name, array in tensors.items():
            expected = self._specs.get(name, "an array")
            found = _mismatch(self._specs.get(name), array)
            if found:
                return f"{kind} '{name}': expected {str(expected).removeprefix(f'{name}: ')}, got {found}"
            if self.is_batched and array.ndim:
                if rows is not None and len(array) != rows:
                    return f"{kind} '{name}': expected {rows} rows as in the others, got {len(array)}"
                rows = len(array)
        return ""


def _mismatch(spec: TensorSpec | None, array: object) -> str:
    if not isinstance(array, np.ndarray):
        return f"a {type(array).__name__}"
    if spec is None:
        return ""
    fits = len(array.shape) == len(spec.shape) and all(
        want is None or want == have for have, want in zip(array.shape, spec.shape, strict=True)
    )
    return "" if fits and array.dtype == spec.dtype else f"{array.dtype} {list(array.shape)}"


def nonfinite_names(outputs: Tensors) -> tuple[str, ...]:
    """Return the names of the outputs that have a NaN or an infinity somewhere."""
    return tuple([name for name, array in outputs.items() if array.dtype.kind in "fc" and not _is_finite(array)])


def _is_finite(array: NDArray[Any]) -> bool:
    if array.size <= _FEW and array.dtype.kind == "f":
        # A few values are looked at one by one: a third of the time of NumPy's calls just after a large model ran.
        return all(map(math.isfinite, array.ravel().tolist()))
    return bool(np.isfinite(array).all())
