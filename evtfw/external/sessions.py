"""Sessions of one model for several threads: each that computes has one to itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Sessions:
    """Runs a model in as many sessions as calls overlap, up to a limit; beyond it they share the first.

    Threads may share a session of onnxruntime, but then its memory goes from core to core: two threads did 1.84 times
    as much as one with a shared session, 1.97 times with one each (`python -m benchmarks emulator_mlp`).

    Args:
        make: loads the model; called at once, and again when calls overlap.
        at_most: sessions.
    """

    def __init__(self, make: Callable[[], Any], at_most: int) -> None:
        self.first = make()
        self._make = make
        self._left = at_most - 1
        self._free = [self.first]  # pop and append are atomic
        self._making = threading.Lock()

    def run(self, names: list[str], inputs: Any) -> list[Any]:
        """Return the outputs of these names; from any thread."""
        try:
            session = self._free.pop()
        except IndexError:
            session = self._another()
        try:
            outputs: list[Any] = session.run(names, inputs)
        finally:
            self._free.append(session)
        return outputs

    def _another(self) -> Any:
        with self._making:
            if self._left <= 0:
                return self.first
            self._left -= 1
        return self._make()
