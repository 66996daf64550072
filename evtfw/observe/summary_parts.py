"""What the parts of the timing summary are made of."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table


def padded(*lines: RenderableType) -> RenderableType:
    """Put lines below each other, a blank before each."""
    return Padding(Group(*lines), (0, 1), expand=False)


def plain_table(*names: str, left: int) -> Table:
    """Return a table with these columns, the first ones flush left."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number < left else "right", no_wrap=True)
    return table
