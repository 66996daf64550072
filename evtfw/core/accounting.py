"""What became of each event: its one fate, and the counts of the paths."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args

from evtfw.core.observer import Fate

if TYPE_CHECKING:
    from evtfw.core.plan import Plan
    from evtfw.core.stream import Stream


@dataclasses.dataclass(frozen=True, slots=True)
class PathCount:
    """What became of the events on one path."""

    accepted: int
    rejected: int
    failed: int


class Accounting:
    """Derives fates and path counts from the decision bits of events."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._paths = [path for path in plan.paths if not path.is_end]
        self._masks = [plan.mask(path.term) for path in self._paths]
        self._known: dict[int, Fate] = {}

    def fate_of_bits(self, bits: int) -> Fate:
        """Fate of an event without failures."""
        fate = self._known.get(bits)
        if fate is None:
            if bits & self._plan.written_bit:
                fate = "written"
            elif not self._plan.has_outputs and (not self._masks or any(bits & mask == mask for mask in self._masks)):
                fate = "passed"
            else:
                fate = "filtered"
            self._known[bits] = fate
        return fate

    def end_event(self, stream: Stream) -> Fate:
        """Count an event that ended in its stream."""
        if not stream.bad_nodes:
            stream.bit_counts[stream.bits] += 1
            return self.fate_of_bits(stream.bits)
        stream.failed_paths[stream.results_with_failures(self._paths).states] += 1
        is_written = bool(stream.bits & self._plan.written_bit)
        stream.failure_fates["written" if is_written else "failed"] += 1
        return "written" if is_written else "failed"

    def fates(self, streams: Iterable[Stream]) -> dict[str, int]:
        """Number of events by fate."""
        counts: Counter[str] = Counter(dict.fromkeys(get_args(Fate), 0))
        for stream in streams:
            for bits, count in list(stream.bit_counts.items()):
                counts[self.fate_of_bits(bits)] += count
            counts.update(stream.failure_fates)
            counts["unprocessed"] += stream.unprocessed
        return dict(counts)

    def paths(self, streams: Iterable[Stream]) -> dict[str, PathCount]:
        """Counts of each path."""
        accepted, rejected, failed = ([0] * len(self._paths) for _ in range(3))
        for stream in streams:
            for bits, count in list(stream.bit_counts.items()):
                for i, mask in enumerate(self._masks):
                    (accepted if bits & mask == mask else rejected)[i] += count
            for states, count in list(stream.failed_paths.items()):
                for i, state in enumerate(states):
                    {"accepted": accepted, "rejected": rejected, "failed": failed}[state][i] += count
        return {
            path.name: PathCount(*counts) for path, *counts in zip(self._paths, accepted, rejected, failed, strict=True)
        }
