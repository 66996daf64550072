"""The generated pages of the reference, as Markdown by file name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import click
from evtfw_docstrings import convert

import evtfw
import evtfw.modules
from evtfw.cli.exit_codes import MEANINGS
from evtfw.cli.main import cli
from evtfw.core.declare import REQUIRED, Accumulator, Input, InputList, Output, Parameter
from evtfw.core.module import Module
from evtfw.core.plugins import plugins
from evtfw.core.process import ProcessOptions
from evtfw.core.types import describe_type

KINDS = ("source", "producer", "filter", "external", "analyzer", "output")
SECTIONS = (
    ("Parameters", Parameter),
    ("Inputs", Input),
    ("Inputs by rules", InputList),
    ("Outputs", Output),
    ("Accumulators", Accumulator),
)
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
ROOMS = ("core", "external", "io", "modules", "observe")


def all_pages() -> dict[str, str]:
    """Return the text of every generated page."""
    modules = module_classes()
    pages = {f"modules/{name}.md": module_page(cls) for name, cls in modules.items()}
    pages["modules/index.md"] = modules_index(modules)
    backends = {p.name: p.load() for p in plugins("backends") if p.target.startswith("evtfw.")}
    pages |= {f"backends/{scheme}.md": backend_page(scheme, cls) for scheme, cls in backends.items()}
    pages["backends/index.md"] = backends_index(backends)
    pages["cli.md"] = cli_page()
    pages["options.md"] = options_page()
    pages["exit_codes.md"] = exit_codes_page()
    pages |= api_pages()
    return pages


def cell(text: object) -> str:
    """Text for a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def code(text: object) -> str:
    return f"``{cell(text)}``" if str(text) else ""


def table(heads: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines)


def docstring(thing: Any) -> str:
    """A docstring, which is reStructuredText with Google's sections, in a Markdown page."""
    text = convert(inspect.getdoc(thing) or "")
    return f"```{{eval-rst}}\n{text}\n```"


# Modules


def module_classes() -> dict[str, type[Module]]:
    """All modules that evtfw ships: those announced by entry points and those of `evtfw.modules`."""
    found = {p.name: p.load() for p in plugins("modules") if p.target.startswith("evtfw.")}
    for name in evtfw.modules.__all__:
        thing = getattr(evtfw.modules, name)
        if isinstance(thing, type) and issubclass(thing, Module):
            found[name] = thing
    return dict(sorted(found.items()))


def module_page(module: type[Module]) -> str:
    facts = f"{module.kind}, concurrency {module.concurrency}"
    if module.resources:
        facts += f", uses {', '.join(module.resources)} alone"
    place = f"from {module.__module__} import {module.__name__}"
    parts = [f"# {module.__name__}", f"*{facts}*", docstring(module), f"```{{code-block}} python\n{place}\n```"]
    for title, kind in SECTIONS:
        declared = module.declared(kind)
        if declared:
            parts += [f"## {title}", declarations_table(declared)]
    return "\n\n".join(parts) + "\n"


def declarations_table(declared: dict[str, Any]) -> str:
    has_default = any(hasattr(d, "default") for d in declared.values())
    heads = ("name", "type", *(["default"] if has_default else []), "unit", "what it is")
    rows = []
    for name, d in declared.items():
        default = [default_of(d)] if has_default else []
        rows.append((code(name), code(describe_type(d.type)), *default, d.unit or "", cell(what_it_is(d))))
    return table(heads, rows)


def default_of(declaration: Any) -> str:
    default = declaration.default
    if default is REQUIRED or (isinstance(declaration, Input) and default is None):
        return "none" if getattr(declaration, "optional", False) else "**required**"
    return code(default if isinstance(declaration, Input) else repr(default))


def what_it_is(declaration: Any) -> str:
    notes = [f"{SIGNS[bound]} {value:g}" for bound, value in getattr(declaration, "bounds", {}).items()]
    if getattr(declaration, "choices", None):
        notes.append("one of " + ", ".join(map(repr, declaration.choices)))
    if getattr(declaration, "optional", False):
        notes.append("optional")
    if getattr(declaration, "scope", "event") != "event":
        notes.append(f"per {declaration.scope}")
    text = str(declaration.doc).replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;").replace("[", "\\[")
    return f"{text} ({', '.join(notes)})" if notes else text


def modules_index(modules: dict[str, type[Module]]) -> str:
    parts = ["# Modules", "Everything below is what `evtfw describe NAME` shows, too."]
    for kind in KINDS:
        rows = [(f"[{n}]({n}.md)", cell(m.summary())) for n, m in modules.items() if m.kind == kind]
        if rows:
            parts += [f"## {'External work' if kind == 'external' else kind.capitalize() + 's'}"]
            parts += [table(("module", "what it does"), rows)]
    parts.append("```{toctree}\n:hidden:\n\n" + "\n".join(modules) + "\n```")
    return "\n\n".join(parts) + "\n"


# Backends


def backend_page(scheme: str, backend: type) -> str:
    place = f"`{scheme}:` stands for {{py:class}}`{backend.__module__}.{backend.__qualname__}`."
    made = f".. autoclass:: {backend.__module__}.{backend.__qualname__}\n   :no-members:\n   :no-index:"
    return f"# {scheme}:\n\n{place}\n\n```{{eval-rst}}\n{made}\n```\n"


def backends_index(backends: dict[str, type]) -> str:
    rows = [(f"[`{s}:`]({s}.md)", cell((inspect.getdoc(b) or "").partition("\n")[0])) for s, b in backends.items()]
    names = "\n".join(backends)
    return "\n\n".join(
        [
            "# Backends",
            "What a configuration can name by URL. {py:func}`evtfw.external.fallback.fallback` composes them.",
            table(("scheme", "what it is"), rows),
            f"```{{toctree}}\n:hidden:\n\n{names}\n```\n",
        ]
    )


# Commands, options, exit codes


def cli_page() -> str:
    parts = ["# The command `evtfw`", "The help texts, as the commands print them.", help_text(cli, "evtfw")]
    for name, command in cli.commands.items():
        parts += [f"## evtfw {name}", help_text(command, f"evtfw {name}")]
    return "\n\n".join(parts) + "\n"


def help_text(command: click.Command, name: str) -> str:
    with click.Context(command, info_name=name, max_content_width=100, terminal_width=100) as context:
        return f"```text\n{command.get_help(context)}\n```"


def options_page() -> str:
    rows = []
    for name, field in ProcessOptions.model_fields.items():
        flags = [o for p in cli.commands["run"].params if p.name == name for o in p.opts]
        kind = describe_type(field.annotation).replace("tuple[str, ...]", "tuple of str")
        rows.append(
            (code(name), code(kind), code(repr(field.default)), " ".join(map(code, flags)), cell(field.description))
        )
    return (
        "# Options of a process\n\n`process.options.NAME = value` in a configuration. The command line has the last "
        "word.\n\n" + table(("name", "type", "default", "on the command line", "what it does"), rows) + "\n"
    )


def exit_codes_page() -> str:
    rows = [(f"`{c.value}`", f"`{c.name}`", cell(text)) for c, text in MEANINGS.items()]
    return (
        "# Exit codes\n\nWhat `evtfw run` returns to the shell. The numbers are stable.\n\n"
        + table(("code", "name", "meaning"), rows)
        + "\n"
    )


# The Python interface


def api_pages() -> dict[str, str]:
    """A page per room with all its documented modules, and one for the public names."""
    pages = {"api/evtfw.md": public_page()}
    for room in ROOMS:
        package = importlib.import_module(f"evtfw.{room}")
        found = pkgutil.walk_packages(package.__path__, f"evtfw.{room}.")
        names = [info.name for info in found if not info.name.rpartition(".")[2].startswith("_")]
        pages[f"api/{room}.md"] = room_page(room, package, names)
    pages["api/testing.md"] = "# evtfw.testing\n\n" + automodule("evtfw.testing") + "\n"
    pages["api/data.md"] = "# evtfw.data\n\n" + automodule("evtfw.data") + "\n"
    return pages


def public_page() -> str:
    rows = [(cross_reference(name), cell(summary_of(getattr(evtfw, name)))) for name in evtfw.__all__]
    head = "# evtfw\n\nThe public names: `from evtfw import …`. Each is documented with the file that defines it.\n\n"
    return head + table(("name", "what it is"), rows) + "\n"


def cross_reference(name: str) -> str:
    thing = getattr(evtfw, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        role = "class" if inspect.isclass(thing) else "func"
        return f"{{py:{role}}}`{name} <{thing.__module__}.{thing.__qualname__}>`"
    return f"{{py:data}}`{name} <evtfw.core.module.{name}>`"


def summary_of(thing: Any) -> str:
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return (inspect.getdoc(thing) or "").partition("\n")[0]
    return f"concurrency: {thing}"


def room_page(room: str, package: Any, names: list[str]) -> str:
    head = docstring(package)
    return f"# evtfw.{room}\n\n{head}\n\n" + "\n\n".join(f"## {name}\n\n{automodule(name)}" for name in names) + "\n"


def automodule(name: str) -> str:
    return f"```{{eval-rst}}\n.. automodule:: {name}\n```"
