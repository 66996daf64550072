"""Whether backends can stand in for each other: what they take and give, and whether it is the same model file."""

from __future__ import annotations

from collections.abc import Sequence

from evtfw.core.errors import ConfigurationError
from evtfw.external.contract import Backend, ModelDescription


def check_alike(backends: Sequence[Backend]) -> None:
    """Raise ConfigurationError if the open backends do not take and give the same tensors."""
    first = backends[0].describe()
    problems = []
    for other in backends[1:]:
        model = other.describe()
        for side in ("inputs", "outputs"):
            ours, theirs = ({(s.name, str(s.dtype), s.shape) for s in getattr(m, side)} for m in (first, model))
            if ours and theirs and ours != theirs:
                problems.append(
                    f"{other.url} cannot stand in for {backends[0].url}: its {side} are "
                    f"{_listed(model, side)}, not {_listed(first, side)}"
                )
    if problems:
        raise ConfigurationError(problems)


def differences(backends: Sequence[Backend]) -> list[str]:
    """Say which open backends are known to serve another model than the first, however it was converted."""
    first = backends[0].describe()
    return [
        f"{other.url} has another model file than {backends[0].url} (sha256 {model.sha256}, not {first.sha256})"
        for other, model in ((other, other.describe()) for other in backends[1:])
        if first.sha256 and model.sha256 and not _origins(first) & _origins(model)
    ]


def _origins(model: ModelDescription) -> set[str]:
    return {model.sha256, model.source_sha256} - {""}


def named(backend: Backend, error: BaseException) -> str:
    """Return what went wrong, with the backend's URL if the message does not have it yet."""
    return str(error) if backend.url in str(error) else f"{backend.url}: {error}"


def _listed(model: ModelDescription, side: str) -> str:
    return ", ".join(str(spec) for spec in getattr(model, side))
