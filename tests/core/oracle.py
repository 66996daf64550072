"""What a random job must come to, worked out the slow and plain way: one event after another, by recursion."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.core.random_jobs import JobSpec, ModuleSpec, mix

FAILED, NOT_RUN = object(), object()


class Oracle:
    """One event (numbered from 1) of a random job."""

    def __init__(self, spec: JobSpec, event: int) -> None:
        self.spec = spec
        self.event = event
        self._outcomes: dict[int, Any] = {}

    def products(self) -> dict[str, int | None]:
        """The recorded products; None where absent."""
        return {f"m{n}:value": self.product(n) for n in self.spec.recorded}

    def product(self, number: int) -> int | None:
        """What the module put, if anything."""
        value, is_put = self.outcome(number)
        return value if is_put else None

    def outcome(self, number: int) -> Any:
        """(value or why there is none, whether its product is there)."""
        if number not in self._outcomes:
            self._outcomes[number] = self._work_out(number)
        return self._outcomes[number]

    def _work_out(self, number: int) -> tuple[Any, bool]:
        module = self.spec.modules[number]
        if not self.is_open(number):
            return NOT_RUN, False
        if module.is_required and any(self.outcome(i)[0] is FAILED for i in module.inputs):
            return FAILED, False
        value = mix(number, self.event, [self.product(i) for i in module.inputs])
        if self.event in module.fails_in:
            return self._failed(module, value)
        return value, True

    def _failed(self, module: ModuleSpec, value: int) -> tuple[Any, bool]:
        if module.kind == "external" and module.outcome in ("reply", "now", "twice"):
            return value, True
        return FAILED, False

    def is_open(self, number: int) -> bool:
        """Whether some path reaches the module; off the paths, whether a consumer is reached."""
        on_paths = [path for path in self.spec.paths if any(m == number for m, _ in path)]
        if on_paths:
            return any(self._reaches(path, number) for path in on_paths)
        if number in self.spec.recorded:
            return True
        consumers = [n for n, m in enumerate(self.spec.modules) if number in m.inputs and self.runs_ever(n)]
        return any(self.is_open(n) for n in consumers)

    def runs_ever(self, number: int) -> bool:
        """Whether the module is on a path, recorded, or consumed by one that is."""
        on_path = any(m == number for path in self.spec.paths for m, _ in path)
        consumers = [n for n, m in enumerate(self.spec.modules) if number in m.inputs]
        return on_path or number in self.spec.recorded or any(self.runs_ever(n) for n in consumers)

    def _reaches(self, path: list[tuple[int, str]], number: int) -> bool:
        before = path[: [m for m, _ in path].index(number)]
        return all(self._goes_on(m, decision) for m, decision in before)

    def _goes_on(self, number: int, decision: str) -> bool:
        if self.spec.modules[number].kind != "filter" or decision == "ignore":
            return True
        value = self.outcome(number)[0]
        return value not in (FAILED, NOT_RUN) and (value % 3 != 0) == (decision == "pass")

    def path_state(self, path: list[tuple[int, str]]) -> str:
        """accepted, rejected or failed."""
        for number, decision in path:
            if self.outcome(number)[0] is FAILED:
                return "failed"
            if not self._goes_on(number, decision):
                return "rejected"
        return "accepted"

    def states(self) -> tuple[str, ...]:
        """The states of all paths."""
        return tuple(self.path_state(path) for path in self.spec.paths)


def expected_paths(spec: JobSpec) -> dict[str, Counter[str]]:
    """Counts of the states of each path over all events."""
    counts: dict[str, Counter[str]] = {f"path{n}": Counter() for n in range(len(spec.paths))}
    for event in range(1, spec.events + 1):
        for number, state in enumerate(Oracle(spec, event).states()):
            counts[f"path{number}"][state] += 1
    return counts
