"""Descriptions, replies and errors as the JSON heads of records, and back."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

import evtfw.core.errors
import evtfw.external.errors
from evtfw.core.errors import ExternalError
from evtfw.external.contract import ModelDescription, Provenance, TensorSpec, Times

_ERRORS: Final[dict[str, type[ExternalError]]] = {
    name: kind
    for module in (evtfw.core.errors, evtfw.external.errors)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, ExternalError)
}


def model_head(model: ModelDescription, backend: str, slots: int) -> dict[str, Any]:
    """Return the record of what a backend serves."""
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    for side in ("inputs", "outputs"):
        fields[side] = [[spec.name, spec.dtype.str, spec.shape, spec.doc] for spec in fields[side]]
    return {"kind": "model", "model": fields, "backend": backend, "slots": slots}


def read_model(head: dict[str, Any]) -> ModelDescription:
    """Return the description again. Raises ValueError, TypeError or KeyError if it is none."""
    fields = dict(head["model"])
    for side in ("inputs", "outputs"):
        fields[side] = tuple(
            TensorSpec(name, np.dtype(dtype), tuple(shape), doc) for name, dtype, shape, doc in fields[side]
        )
    return ModelDescription(**fields)


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return what is kept of an error: the nearest kind that evtfw knows, and its message."""
    kind = next((base.__name__ for base in type(error).__mro__ if _ERRORS.get(base.__name__) is base), "ExternalError")
    text = str(error) if isinstance(error, ExternalError) else f"{type(error).__name__}: {error}"
    return {"error": kind, "message": text}


def read_error(head: dict[str, Any]) -> ExternalError:
    """Return the error again; of a kind of evtfw's, whatever the file says."""
    return _ERRORS.get(str(head["error"]), ExternalError)(str(head["message"]))


def provenance_fields(provenance: Provenance) -> dict[str, Any]:
    """Return a provenance as JSON keeps it."""
    return {field.name: getattr(provenance, field.name) for field in dataclasses.fields(provenance)}


def replayed(fields: dict[str, Any], url: str) -> Provenance:
    """Return who made a reply that was kept: the file now, and whoever it was then as the server."""
    original = Provenance(**fields)
    return dataclasses.replace(original, backend=url, server=original.server or original.backend)


def read_times(values: list[int]) -> Times:
    """Return where the time went when it was recorded."""
    return Times(*values)
