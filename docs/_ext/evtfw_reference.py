"""Writes the reference pages into ``reference/generated`` when a build begins: nothing there is copied by hand.

They come from the declarations that ``evtfw describe`` and the compiler read, from the options of the process, from the
exit codes, and from the commands themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reference_pages import all_pages
from sphinx.application import Sphinx


def write_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "reference" / "generated"
    pages = all_pages()
    for name, text in pages.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:  # unchanged pages are not built again
            file.write_text(text, encoding="utf-8")
    for file in folder.rglob("*.*"):
        if file.relative_to(folder).as_posix() not in pages:
            file.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
