"""Failures counted by module and type, so that a million of them stay a line."""

from __future__ import annotations

import dataclasses
import threading

from evtfw.core.observer import Failure


@dataclasses.dataclass(slots=True)
class FailureKind:
    """All failures of one type in one module.

    Args:
        first: the first of them, with its event and message.
    """

    label: str
    error_type: str
    count: int
    first: Failure

    @property
    def message(self) -> str:
        """What the first of them says; the cause's words where the error wraps a module's own exception."""
        return str(self.first.error) or self.error_type


def _kind_of(failure: Failure) -> tuple[str, str]:
    error = failure.error
    return failure.label, type(error.__cause__ or error).__name__


class FailureTally:
    """Counts failures as they come. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], FailureKind] = {}

    def add(self, failure: Failure) -> None:
        """Count one."""
        key = _kind_of(failure)
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None:
                self._kinds[key] = FailureKind(*key, 1, failure)
            else:
                kind.count += 1

    def kinds(self) -> tuple[FailureKind, ...]:
        """The most frequent first."""
        with self._lock:
            return tuple(sorted(self._kinds.values(), key=lambda kind: -kind.count))
