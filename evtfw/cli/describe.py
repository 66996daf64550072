"""``evtfw describe``: what a module or backend takes and gives."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evtfw.cli.session import Command, Session, paragraphs
from evtfw.core.declare import REQUIRED, Accumulator, Input, InputList, Output, Parameter
from evtfw.core.errors import ConfigurationError, nearest
from evtfw.core.module import Module
from evtfw.core.plugins import find_plugin, plugins
from evtfw.core.types import describe_type


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = [p.name for group in ("modules", "backends") for p in plugins(group)]
    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]


@click.command(
    cls=Command,
    short_help="what a module or backend takes and gives",
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw describe TopTagger",
            "  evtfw describe cpu",
            "  evtfw describe mypackage.modules:MuonSelector",
            "  evtfw describe mymodules:MuonSelector     (mymodules.py in this folder)",
        ]
    ),
)
@click.argument("name", shell_complete=_complete)
@click.pass_obj
def describe(session: Session, name: str) -> None:
    """Tell what NAME does: its parameters, inputs and outputs, with types, defaults and units.

    NAME is a module or the scheme of a backend from "evtfw list", or any class as package.file:Class.
    """
    described, origin = _find(name)
    if isinstance(described, type) and issubclass(described, Module):
        session.out.print(_module(described, origin))
    else:
        session.out.print(_backend(name, described, origin))


def _find(name: str) -> tuple[Any, str]:
    """The class, and who provides it."""
    if ":" in name:
        return _import(name), ""
    known = {p.name: p for group in ("backends", "modules") for p in plugins(group)}
    if name not in known:
        hint = nearest(name, known) or "; 'evtfw list' shows all"
        raise ConfigurationError(f"no installed module or backend is called '{name}'{hint}")
    plugin = find_plugin(known[name].group, name)
    return plugin.load(), plugin.distribution


def _import(name: str) -> Any:
    module, _, qualified = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        raise ConfigurationError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        del sys.path[0]
    found = getattr(loaded, qualified, None)
    if not isinstance(found, type):
        classes = [n for n, v in vars(loaded).items() if isinstance(v, type)]
        raise ConfigurationError(f"{module} has no class '{qualified}'{nearest(qualified, classes)}")
    return found


def _head(name: str, what: str, described: Any, origin: str) -> Iterator[RenderableType]:
    place = f"{described.__module__}:{described.__qualname__}"
    yield Text.assemble((name, "bold"), "  ", (what, "magenta"), "  ", (f"{place}  {origin}".rstrip(), "dim"))
    documentation = inspect.getdoc(described)
    if documentation:
        yield Padding(Text(documentation), (0, 0, 0, 2))


def _module(module: type[Module], origin: str) -> RenderableType:
    what = f"{module.kind}, {module.concurrency}"
    if module.resources:
        what += f", uses {', '.join(module.resources)} alone"
    parts = [*_head(module.__name__, what, module, origin)]
    sections: tuple[tuple[str, type[Any], bool], ...] = (
        ("Parameters", Parameter, True),
        ("Inputs", Input, True),
        ("Inputs by rules", InputList, True),
        ("Outputs", Output, False),
        ("Accumulators", Accumulator, False),
    )
    for title, kind, has_default in sections:
        declared = module.declared(kind)
        if declared:
            parts += ["", _table(title, declared, has_default)]
    return Group(*parts)


def _table(title: str, declared: dict[str, Any], has_default: bool) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("type", style="green", overflow="fold")
    if has_default:
        table.add_column("default", overflow="fold")
    table.add_column("unit")
    table.add_column("what it is", ratio=1)
    for name, declaration in declared.items():
        notes = ", ".join(_notes(declaration))
        text = f"{declaration.doc} ({notes})" if notes else declaration.doc
        default = [_default(declaration)] if has_default else []
        table.add_row(name, describe_type(declaration.type), *default, declaration.unit or "", Text(text))
    return table


def _default(declaration: Any) -> Text:
    if declaration.default is REQUIRED or (isinstance(declaration, Input) and declaration.default is None):
        optional = isinstance(declaration, Input) and declaration.optional
        return Text("none", "dim") if optional else Text("required", "bold yellow")
    return Text(str(declaration.default) if isinstance(declaration, Input) else repr(declaration.default))


def _notes(declaration: Any) -> Iterator[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for bound, value in getattr(declaration, "bounds", {}).items():
        yield f"{signs[bound]} {value:g}"
    if getattr(declaration, "choices", None):
        yield "one of " + ", ".join(map(repr, declaration.choices))
    if getattr(declaration, "optional", False):
        yield "optional"
    if getattr(declaration, "scope", "event") != "event":
        yield f"per {declaration.scope}"


def _backend(name: str, backend: Any, origin: str) -> RenderableType:
    return Group(*_head(f"{name}:" if ":" not in name else backend.__name__, "backend", backend, origin))
