"""The names that a dumped configuration uses, and the imports that bring them in."""

from __future__ import annotations

import builtins
import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

from evtfw.core.dump_layout import WIDTH, call, layout, quoted
from evtfw.core.loading import home_of


class NotWritable(ValueError):
    """There is no Python text for a value; the message says why."""


class Imports:
    """Finds from where things can be imported, without two things getting the same name."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._modules: set[str] = set()
        self._folders: dict[str, None] = {}
        self._taken = {"process", "sys", *dir(builtins)}

    def module(self, name: str) -> str:
        """Import a module; return its name."""
        self._modules.add(name)
        self._taken.add(name)
        return name

    def name(self, thing: Any) -> str:
        """Import a class or function; return what it is called then.

        Raises:
            NotWritable: if it cannot be imported, e.g. a lambda.
        """
        module, qualified = str(thing.__module__), str(thing.__qualname__)
        if module == "builtins" and _attribute(builtins, qualified) == thing:
            return qualified
        if "<" in qualified:
            raise NotWritable(f"{qualified.rpartition('.')[2]} has no name to import it by")
        owner = _public_owner(thing, module, qualified)
        home = home_of(thing) if isinstance(thing, type) or hasattr(thing, "__globals__") else None
        if owner is None:
            owner = _forgotten_owner(module, qualified, home)
        if home is not None:
            self._add_folder(module, home)
        first, dot, rest = qualified.partition(".")
        return self._alias(owner, first) + dot + rest

    def _alias(self, owner: str, name: str) -> str:
        alias = self._names.get((owner, name))
        if alias is None:
            alias = name if name not in self._taken else f"{owner.replace('.', '_')}_{name}"
            self._taken.add(alias)
            self._names[owner, name] = alias
        return alias

    def _add_folder(self, module: str, home: Path) -> None:
        """Note the folder that has to be on ``sys.path``, if Python would not find the module by itself."""
        package = home.parent if home.stem == "__init__" else home
        folder = package.parents[module.count(".")]
        try:
            spec = importlib.util.find_spec(module.partition(".")[0])
        except (ValueError, ImportError):
            spec = None
        places = [] if spec is None else [*(spec.submodule_search_locations or ()), spec.origin or ""]
        if not any(folder in Path(place).parents for place in places):
            self._folders[str(folder)] = None

    def statements(self) -> str:
        """Return all imports, those of the standard library first."""
        modules = self._modules | ({"sys"} if self._folders else set())
        plain = {m: f"import {m}" for m in sorted(modules)}
        by_owner: dict[str, list[str]] = {}
        for (owner, name), alias in sorted(self._names.items()):
            by_owner.setdefault(owner, []).append(name if name == alias else f"{name} as {alias}")
        names = {owner: _from(owner, names) for owner, names in by_owner.items()}
        standard = [[t for m, t in kind.items() if _is_standard(m)] for kind in (plain, names)]
        others = [[t for m, t in kind.items() if not _is_standard(m)] for kind in (plain, names)]
        folders = [str(call("sys.path.insert", [("", "0"), ("", quoted(folder))])) for folder in self._folders]
        blocks = [standard[0] + standard[1], folders, others[0] + others[1]]
        return "\n\n".join("\n".join(block) for block in blocks if block)


def _attribute(owner: object, qualified: str) -> object:
    return functools.reduce(lambda o, n: getattr(o, n, None), qualified.split("."), owner)


def _public_owner(thing: Any, module: str, qualified: str) -> str | None:
    """The shortest package that offers the thing: ``evtfw`` for ``evtfw.core.process.Path``."""
    parts = module.split(".")
    packages = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
    return next((p for p in packages if p in sys.modules and _attribute(sys.modules[p], qualified) == thing), None)


def _forgotten_owner(module: str, qualified: str, home: Path | None) -> str:
    """For what a configuration defined: its file can be imported again."""
    if home is None or module == "__main__" or getattr(sys.modules.get(module), "__file__", None) == str(home):
        raise NotWritable(f"{qualified} cannot be imported from {module}")
    if not all(part.isidentifier() for part in module.split(".")):
        raise NotWritable(f"{qualified} is defined in {home}, whose name is none to import by; give the file another")
    return module


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _from(owner: str, names: list[str]) -> str:
    line = f"from {owner} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return layout(f"from {owner} import ", call("", [("", name) for name in names], one_per_line=True))
