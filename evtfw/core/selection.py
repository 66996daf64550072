"""Which events of the input a job takes: a number, an offset, ranges of events, a mask of luminosity blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.core.process import ProcessOptions
from evtfw.core.source import Chunk

_RANGE = re.compile(r"(\d+):(\d+):(\d+)(?:-(\d+):(\d+):(\d+))?")
Triple = tuple[int, int, int]


class Selection:
    """Selects rows of chunks, in order; keeps count of what was passed over and taken.

    Args:
        max_events: events to take at most.
        skip_events: selected events to pass over first.
        ranges: inclusive ranges of (run, lumi, event), one of which must hold the event.
        mask: by run, inclusive ranges of luminosity blocks, one of which must hold the event's.
    """

    def __init__(
        self,
        max_events: int | None = None,
        skip_events: int = 0,
        ranges: Sequence[tuple[Triple, Triple]] = (),
        mask: dict[int, list[tuple[int, int]]] | None = None,
    ) -> None:
        self.left = max_events
        self.to_skip = skip_events
        self.ranges = ranges
        self.mask = mask
        self.first, self.count = 0, None
        if not ranges and mask is None:  # the source can pass over events without reading them
            self.first, self.to_skip = skip_events, 0
            self.count = max_events

    @classmethod
    def from_options(cls, options: ProcessOptions) -> Selection:
        """Make the selection that the options ask for. Raises ConfigurationError."""
        ranges = [_parse_range(text) for text in options.events]
        mask = None if options.lumi_mask is None else read_lumi_mask(Path(options.lumi_mask))
        return cls(options.max_events, options.skip_events, ranges, mask)

    @property
    def is_exhausted(self) -> bool:
        """Whether no further event will be taken."""
        return self.left is not None and self.left <= 0

    def rows(self, chunk: Chunk) -> Sequence[int]:
        """The rows to take of the next chunk."""
        chosen: Sequence[int] = range(len(chunk))
        if self.ranges or self.mask is not None:
            chosen = np.flatnonzero(self._passes(chunk)).tolist()
        skipped = min(self.to_skip, len(chosen))
        self.to_skip -= skipped
        chosen = chosen[skipped:]
        if self.left is not None:
            chosen = chosen[: self.left]
            self.left -= len(chosen)
        return chosen

    def _passes(self, chunk: Chunk) -> NDArray[np.bool_]:
        runs, lumis, events = (np.asarray(a).astype(np.uint64) for a in (chunk.runs, chunk.lumis, chunk.events))
        passes = np.ones(len(chunk), dtype=bool)
        if self.ranges:
            passes &= np.logical_or.reduce([_within(low, high, runs, lumis, events) for low, high in self.ranges])
        if self.mask is not None:
            passes &= _in_mask(self.mask, runs, lumis)
        return passes


def _within(low: Triple, high: Triple, *numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether low <= (run, lumi, event) <= high in lexical order."""
    above = np.ones(len(numbers[0]), dtype=bool)
    below = above.copy()
    for values, lowest, highest in reversed(list(zip(numbers, low, high, strict=True))):
        above = (values > lowest) | ((values == lowest) & above)
        below = (values < highest) | ((values == highest) & below)
    return above & below


def _in_mask(mask: dict[int, list[tuple[int, int]]], runs: NDArray[Any], lumis: NDArray[Any]) -> NDArray[np.bool_]:
    passes = np.zeros(len(runs), dtype=bool)
    for run in np.unique(runs).tolist():
        here = runs == run
        for first, last in mask.get(run, ()):
            passes |= here & (lumis >= first) & (lumis <= last)
    return passes


def _parse_range(text: str) -> tuple[Triple, Triple]:
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ConfigurationError(
            f"event selection '{text}': write RUN:LUMI:EVENT, or RUN:LUMI:EVENT-RUN:LUMI:EVENT for a range"
        )
    numbers = [int(n) for n in match.groups() if n is not None]
    return (numbers[0], numbers[1], numbers[2]), (numbers[-3], numbers[-2], numbers[-1])


def read_lumi_mask(path: Path) -> dict[int, list[tuple[int, int]]]:
    """Read a CMS JSON mask: ``{"RUN": [[FIRST, LAST], ...]}``, ends included.

    Raises:
        ConfigurationError: naming the file and what is wrong in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"lumi mask {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"lumi mask {path}: not JSON: {error}") from None
    try:
        mask = {int(run): [(int(first), int(last)) for first, last in blocks] for run, blocks in content.items()}
    except (AttributeError, TypeError, ValueError):
        raise ConfigurationError(f'lumi mask {path}: must look like {{"RUN": [[FIRST, LAST], ...]}}') from None
    return mask
