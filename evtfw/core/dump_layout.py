"""How Python expressions are broken into lines: as the usual formatters (ruff, black) would."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

WIDTH = 88
"""Columns of a line: the formatters' default."""


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Brackets with items in them, e.g. a call; an item is a prefix (``name=``) and an expression.

    Args:
        one_per_line: give each item a line of its own even if they would fit into one.
        trailing_comma: of a tuple with one item.
    """

    opening: str
    items: tuple[tuple[str, Expression], ...]
    closing: str
    one_per_line: bool = False
    trailing_comma: bool = False

    def __str__(self) -> str:
        return self.opening + self.inside() + self.closing

    def inside(self) -> str:
        """What is between the brackets, in one line."""
        return ", ".join(f"{prefix}{item}" for prefix, item in self.items) + ("," if self.trailing_comma else "")


Expression = str | Group


def call(function: str, arguments: Iterable[tuple[str, Expression]], *, one_per_line: bool = False) -> Group:
    """Return a call; arguments are pairs of ``name=`` (or nothing) and expression."""
    return Group(f"{function}(", tuple(arguments), ")", one_per_line)


def quoted(text: str) -> str:
    """Return a string literal in double quotes, or in single ones if these need fewer escapes.

    >>> print(quoted("it's"), quoted('say "no"'))
    "it's" 'say "no"'
    """
    literal = repr(text)
    if literal[0] == '"' or text.count('"') > text.count("'"):
        return literal
    return '"' + literal[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'


def layout(start: str, expression: Expression, end: str = "", indent: int = 0) -> str:
    """Return ``start``, the expression and ``end`` over as few lines as `WIDTH` allows.

    >>> print(layout("x = ", call("f", [("a=", "1"), ("b=", "2")], one_per_line=True)))
    x = f(
        a=1,
        b=2,
    )
    """
    margin = " " * indent
    line = f"{margin}{start}{expression}{end}"
    if isinstance(expression, str) or not expression.items:
        return line
    explode = _contains_exploded(expression)
    if len(line) <= WIDTH and not explode:
        return line
    head, tail = f"{margin}{start}{expression.opening}", f"{margin}{expression.closing}{end}"
    inside = f"{margin}    {expression.inside()}"
    is_call = len(expression.opening) > 1  # the items of a list that is too long for a line get lines of their own
    if is_call and len(inside) <= WIDTH and not explode:
        return f"{head}\n{inside}\n{tail}"
    return "\n".join([head, *(layout(prefix, item, ",", indent + 4) for prefix, item in expression.items), tail])


def _contains_exploded(expression: Expression) -> bool:
    if isinstance(expression, str):
        return False
    return expression.one_per_line or any(_contains_exploded(item) for _, item in expression.items)
