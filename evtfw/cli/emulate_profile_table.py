"""How the profile of a network looks in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from evtfw.observe.units import percent

if TYPE_CHECKING:
    from evtfw.external.emulator.cost.profile import Distribution, LayerProfile

_RULER = 36
_BAD_ERROR = 0.1
LEGEND = (
    "░ range of the format, ─ 5% to 95% of the values, █ the middle half, ┃ median, zeros left out; "
    "error: of all rounding up to there, relative to the values"
)
"""Of the drawing in the table."""


def rows_of(profiles: Sequence[LayerProfile]) -> Iterator[tuple[str, str, Distribution]]:
    """Yield name, kind and numbers: a row for the values of each layer, and one for its weights."""
    for layer in profiles:
        yield layer.name, layer.kind, layer.values
        if layer.weights is not None:
            yield "", "weights", layer.weights


def log2_range(profiles: Sequence[LayerProfile]) -> tuple[int, int]:
    """Return the ends of an axis of powers of two that shows all."""
    rows = [row for _, _, row in rows_of(profiles)]
    ends = [value for row in rows for value in (*row.magnitudes[1:], row.step, row.reach) if value > 0] or [1.0]
    return math.floor(math.log2(min(ends))) - 1, math.ceil(math.log2(max(ends))) + 1


def profile_table(profiles: Sequence[LayerProfile]) -> Table:
    """Return a row for the values of each layer, and one for its weights."""
    low, high = log2_range(profiles)
    ruler = f"2^{low}".ljust(_RULER - len(f"2^{high}")) + f"2^{high}"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", style="cyan", overflow="fold")
    table.add_column("", style="dim")
    table.add_column("format", overflow="fold")
    table.add_column(ruler, no_wrap=True)
    for heading in ("range", "to 0", "beyond", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("advice", no_wrap=True)
    for name, kind, row in rows_of(profiles):
        drawing = _drawing(row, low, high)
        span = f"{row.lowest:.3g}…{row.highest:.3g}"
        bad = Text(percent(row.beyond), "red" if row.beyond else "")
        error = Text(percent(row.relative_error), "red" if row.relative_error > _BAD_ERROR else "")
        table.add_row(
            name, kind, row.format.removeprefix("ap_"), drawing, span, percent(row.lost), bad, error, _short(row)
        )
    return table


def _short(row: Distribution) -> str:
    return str(row.advice).removeprefix("ap_").replace(",RND>", ">")


def _drawing(row: Distribution, low: int, high: int) -> Text:
    def place(value: float) -> int:
        share = (math.log2(value) - low) / (high - low)
        return min(_RULER - 1, max(0, int(share * _RULER)))

    text, styles = [" "] * _RULER, [""] * _RULER
    spans = [(row.step, row.reach, "░", "dim")]
    if row.magnitudes:
        _, least, lower, middle, upper, most, _ = row.magnitudes
        spans += [(least, most, "─", "yellow"), (lower, upper, "█", "cyan"), (middle, middle, "┃", "bold")]
    for start, end, sign, style in spans:
        for column in range(place(start), place(end) + 1) if start > 0 else ():
            text[column], styles[column] = sign, style
    return Text.assemble(*zip(text, styles, strict=True))
