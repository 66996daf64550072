"""How docstrings of evtfw become pages: Google's sections, and single backticks that link where they can.

The docstrings are written for readers of the source as well. So they name private things and methods of the class at
hand, which must not break a nitpicky build, and their attributes may begin with any sentence: napoleon alone
would take the words before its first colon for a type.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.nodes import make_refnode

_CONFIG = Config(napoleon_use_ivar=True)
_LONE_STAR = re.compile(r"(?<![\w*`\\])\*(?=\w)(?![^*]*\*)")  # of "[n, *inner]"


class HouseDocstring(GoogleDocstring):
    """Google's sections as the house writes them: types stand in signatures, one line may describe several names."""

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", lines)] if lines else []

    def _consume_fields(self, *args: Any, **settings: Any) -> list[tuple[str, str, list[str]]]:
        fields = super()._consume_fields(*args, **settings)
        return [(name.replace(", ", "/"), kind, text) for name, kind, text in fields]


def convert(text: str, what: str = "class") -> str:
    """Return a docstring as reStructuredText; ``what`` is autodoc's word for the kind of thing."""
    if what not in ("attribute", "data", "property"):
        text = str(HouseDocstring(text, _CONFIG, what=what))
    return "\n".join(_LONE_STAR.sub(r"\\*", line) for line in text.split("\n"))


def process_docstring(_app: Sphinx, what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = convert("\n".join(lines), what).split("\n")


class Name(PyXRefRole):
    """Like ``:py:obj:``, but marked, so that a missing target is no mistake."""

    def process_link(
        self, env: BuildEnvironment, refnode: nodes.Element, has_explicit_title: bool, title: str, target: str
    ) -> tuple[str, str]:
        refnode["refdomain"], refnode["reftype"], refnode["evtfw_name"] = "py", "obj", True
        return super().process_link(env, refnode, has_explicit_title, title, target)


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Element | None:
    """Link a name to the only documented thing that is called so; leave it as code if there is none or several."""
    if not node.get("evtfw_name"):
        return None
    target = node["reftarget"]
    objects = env.domains.python_domain.objects
    found = [name for name, entry in objects.items() if not entry.aliased and f".{name}".endswith(f".{target}")]
    if len(found) != 1:
        return content
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, found[0])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("name", Name())
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
