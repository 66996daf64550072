"""Pages of ``evtfw emulate``: one file, nothing loaded from elsewhere, for light and dark, as the job report is."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from evtfw.observe.html_parts import Html


def whole_page(over: str, title: str, subtitle: str, *body: str, pill: tuple[str, str] | None = None) -> str:
    """Return a page.

    Args:
        over, title, subtitle: its head.
        body: what follows, HTML.
        pill: verdict in the corner, and its style (``good``, ``bad``).
    """
    style = files("evtfw.observe").joinpath("report.css").read_text(encoding="utf-8")
    verdict = f'<span class="pill {pill[1]}">{escape(pill[0])}</span>' if pill else ""
    head = (
        f'<header><div><div class="over">{escape(over)}</div><h1>{escape(title)}</h1>'
        f"<code>{escape(subtitle)}</code></div>{verdict}</header>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}: {escape(over)}</title><style>{style}</style></head>\n"
        f"<body><main>{head}{''.join(body)}</main></body></html>\n"
    )


def figure_of(svg: str, caption: str) -> Html:
    """Return a drawing with its caption."""
    return Html(f'<figure>{svg}</figure><p class="note">{escape(caption)}</p>')
