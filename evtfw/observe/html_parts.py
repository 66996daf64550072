"""Small pieces of the report's page; every text that goes in is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from evtfw.observe.units import percent


class Html(str):
    """Text that is HTML already and must not be escaped again."""

    __slots__ = ()


def text(value: object) -> Html:
    """Escape a value unless it is `Html`."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def section(title: str, *parts: str, note: str = "") -> Html:
    """A titled card; empty if all its parts are."""
    body = "".join(part for part in parts if part)
    if not body:
        return Html()
    small = f'<p class="note">{escape(note)}</p>' if note else ""
    return Html(f"<section><h2>{escape(title)}</h2>{small}{body}</section>")


def tile(value: str, name: str, detail: str = "", style: str = "") -> Html:
    """A headline number."""
    small = f'<div class="detail">{escape(detail)}</div>' if detail else ""
    return Html(
        f'<div class="tile {style}"><div class="name">{escape(name)}</div>'
        f'<div class="value">{escape(value)}</div>{small}</div>'
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> Html:
    """A table; the first ``left`` columns are aligned left, the others are numbers. Empty without rows."""
    body = []
    for row in rows:
        cells = (f'<td class="{"" if n < left else "n"}">{text(cell)}</td>' for n, cell in enumerate(row))
        body.append(f"<tr>{''.join(cells)}</tr>")
    if not body:
        return Html()
    heads = (f'<th class="{"" if n < left else "n"}">{escape(name)}</th>' for n, name in enumerate(columns))
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    return Html(f'<div class="scroll"><table>{head}<tbody>{"".join(body)}</tbody></table></div>')


def bar(fraction: float, style: str = "accent") -> Html:
    """A bar with its percentage, for a table's cell."""
    look = f"width:{100 * min(1.0, fraction):.2f}%;background:var(--{style})"
    return Html(f'<div class="meter"><span style="{look}"></span></div><span class="pc">{percent(fraction)}</span>')


def strip(parts: Sequence[tuple[str, float, str, str]]) -> Html:
    """One bar of several parts with a legend.

    Args:
        parts: name, size, text for the legend, and name of the colour.
    """
    total = sum(size for _, size, _, _ in parts) or 1.0
    spans = "".join(
        f'<span style="flex-grow:{size / total:.5f};background:var(--{style})" '
        f'title="{escape(name)}: {escape(shown)}"></span>'
        for name, size, shown, style in parts
        if size > 0
    )
    return Html(f'<div class="strip">{spans}</div>{legend([(name, style, shown) for name, _, shown, style in parts])}')


def legend(entries: Sequence[tuple[str, str] | tuple[str, str, str]]) -> Html:
    """Names of colours.

    Args:
        entries: name, colour, and a figure to show beside the name if there is one.
    """
    items = []
    for name, style, *shown in entries:
        figure = f" <b>{escape(shown[0])}</b>" if shown else ""
        items.append(f'<li><i style="background:var(--{style})"></i>{escape(name)}{figure}</li>')
    return Html(f'<ul class="legend">{"".join(items)}</ul>')


def stacked_bar(parts: Sequence[tuple[float, str]]) -> Html:
    """A bar of several parts for a table's cell.

    Args:
        parts: share of the cell's width, and name of the colour.
    """
    spans = "".join(
        f'<span style="width:{100 * share:.2f}%;background:var(--{style})"></span>' for share, style in parts if share
    )
    return Html(f'<div class="meter stacked">{spans}</div>')


def details(title: str, body: str) -> Html:
    """A part that opens at a click; empty without a body."""
    return Html(f"<details><summary>{escape(title)}</summary>{body}</details>") if body else Html()
