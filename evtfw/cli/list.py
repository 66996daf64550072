"""``evtfw list``: modules, backends and configurations that are installed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from evtfw.cli.session import Command, Session
from evtfw.core.errors import ConfigurationError
from evtfw.core.loading import shipped_configurations
from evtfw.core.module import Module
from evtfw.core.plugins import Group, Plugin, plugins

_Row = tuple[str, str, str | Text, str]


@click.command("list", cls=Command, short_help="modules, backends and configurations there are")
@click.argument("what", type=click.Choice(["modules", "backends", "configs"]), required=False)
@click.option("--names", is_flag=True, help="names only, one a line; nothing is imported")
@click.pass_obj
def list_plugins(session: Session, what: str | None, names: bool) -> None:
    """List modules, backends and shipped configurations; all of them, or one kind."""
    for kind in [what] if what else ["modules", "backends", "configs"]:
        if names:
            click.echo("\n".join(_names(kind)))
        else:
            _print_table(session, kind)


def _names(kind: str) -> list[str]:
    if kind == "configs":
        return [file.stem for file in shipped_configurations()]
    return list(dict.fromkeys(p.name for p in plugins("modules" if kind == "modules" else "backends")))


def _print_table(session: Session, kind: str) -> None:
    table = Table(title=kind, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in {"modules": ("name", "kind"), "backends": ("scheme", "")}.get(kind, ("name", "")):
        table.add_column(heading, no_wrap=True, style="cyan" if heading in ("name", "scheme") else "")
    table.add_column("what it does", ratio=1)
    table.add_column("from", style="dim")
    rows = _configurations() if kind == "configs" else _plugins("modules" if kind == "modules" else "backends")
    for row in rows:
        table.add_row(*row)
    if not table.row_count:
        table.add_row("none", "", "", "")
    session.out.print(table)
    session.out.print()


def _plugins(group: Group) -> Iterator[_Row]:
    for plugin in plugins(group):
        yield _plugin_row(plugin)


def _plugin_row(plugin: Plugin) -> _Row:
    try:
        loaded = plugin.load()
    except ConfigurationError as error:
        return plugin.name, "", Text(error.problems[0], style="red"), plugin.distribution
    if isinstance(loaded, type) and issubclass(loaded, Module):
        return plugin.name, loaded.kind, loaded.summary(), plugin.distribution
    return plugin.name, "", (loaded.__doc__ or "").strip().partition("\n")[0], plugin.distribution


def _configurations() -> Iterator[_Row]:
    for file in shipped_configurations():
        yield file.stem, "", _first_line(file), str(file)


def _first_line(file: Path) -> str:
    """The beginning of the docstring, without running the configuration."""
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
