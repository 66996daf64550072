"""Configuration files: find one, run it, and take its process.

A configuration is a Python program, so it can do what a program can: load only those that you trust.
"""

from __future__ import annotations

import dataclasses
import hashlib
import keyword
import sys
import tokenize
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType

from evtfw.core.arguments import given_arguments
from evtfw.core.errors import ConfigurationError, EvtfwError, nearest
from evtfw.core.loading_errors import explain
from evtfw.core.process import Process

_homes: weakref.WeakKeyDictionary[type, Path] = weakref.WeakKeyDictionary()
"""File of each class that was defined beside a configuration whose modules were forgotten again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """A loaded configuration.

    Args:
        process: what it describes.
        file: where it is.
        arguments: what it was given after ``--``.
        sources: text by file name: the configuration first, then what it imported from its folder.
        note: one line for the user if the file is not simply the one named; else empty.
    """

    process: Process
    file: Path
    arguments: tuple[str, ...]
    sources: Mapping[str, str]
    note: str = ""

    @property
    def text(self) -> str:
        """The configuration file as it was read."""
        return next(iter(self.sources.values()))

    @property
    def sha256(self) -> str:
        """Hash of all sources and of the arguments: equal hashes describe the same job."""
        digest = hashlib.sha256()
        for part in (*self.arguments, *self.sources.values()):
            digest.update(hashlib.sha256(part.encode()).digest())
        return digest.hexdigest()


def load_process(path: str | Path, arguments: Sequence[str] | None = None) -> Process:
    """Run a configuration file and return its process; see `load_configuration`."""
    return load_configuration(path, arguments).process


def load_configuration(
    path: str | Path, arguments: Sequence[str] | None = None, *, keep_imports: bool = False
) -> Configuration:
    """Run a configuration file, with its folder on ``sys.path``, and return what it made.

    Args:
        path: the file, or the name of a configuration that is shipped with evtfw, e.g. ``toptag``.
        arguments: what ``Arguments.parse()`` shall read in it; None: what the configuration that loads it was given.
        keep_imports: leave the folder on ``sys.path`` and the modules imported from it in ``sys.modules``, as after
            running a script; otherwise they are forgotten, so that configurations of different folders can be loaded
            one after the other though their files have the same names.

    Raises:
        ConfigurationError: if the file is missing, is not Python, raises, or has not exactly one process; with the file
            and line of the configuration.
        HelpRequested: if ``--help`` is among the arguments and the configuration parses them.
    """
    file, note = find_configuration(path)
    code, text = _compile(file)
    name = _module_name(file)
    folder = str(file.resolve().parent)
    paths_before, modules_before = list(sys.path), dict(sys.modules)
    module = ModuleType(name)
    module.__file__ = str(file.resolve())
    sys.modules[name] = module
    sys.path.insert(0, folder)
    sys.path_importer_cache.pop(folder, None)  # else files written since the last load may not be seen
    try:
        with given_arguments(arguments):
            _execute(code, module, file)
        local = _local_modules(modules_before, {folder, *sys.path} - set(paths_before))
        sources = {str(file): text} | {n: _source(m) for n, m in sorted(local.items()) if n != name}
        return Configuration(_the_process(vars(module), file), file, tuple(arguments or ()), sources, note)
    finally:
        if not keep_imports:
            _forget(_local_modules(modules_before, {folder, *sys.path} - set(paths_before)))
            sys.path[:] = paths_before


def home_of(thing: type | FunctionType) -> Path | None:
    """Return the file that defines a class or function, also one beside a configuration; None for built-in ones."""
    if isinstance(thing, FunctionType):
        file = thing.__globals__.get("__file__")
    elif thing in _homes:
        return _homes[thing]
    else:
        file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return Path(file) if file else None


def shipped_configurations() -> tuple[Path, ...]:
    """Return the configurations that come with evtfw, from the installed package or from the source tree."""
    package = Path(__file__).parent.parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return tuple(sorted(f for f in folder.glob("*.py") if not f.name.startswith("_")))


def find_configuration(path: str | Path) -> tuple[Path, str]:
    """Return the file that ``path`` means, and a note if that is a shipped configuration."""
    file = Path(path)
    if file.is_file():
        return file, ""
    shipped = {f.stem: f for f in shipped_configurations()}
    if file.parts[:-1] in ((), ("configs",)) and file.suffix in ("", ".py") and file.stem in shipped:
        found = shipped[file.stem]
        return found, f"no file {path} here: using the configuration '{found.stem}' that comes with evtfw, {found}"
    if file.is_dir():
        raise ConfigurationError(f"{path} is a folder; name the configuration file in it")
    beside = [str(f) for f in file.parent.glob("*.py")] if file.parent.is_dir() else []
    missing = f"there is no configuration file {path}"
    if not file.parent.is_dir():
        missing += f" (nor a folder {file.parent})"
    raise ConfigurationError(missing + nearest(str(path), [*beside, *shipped]))


def _compile(file: Path) -> tuple[object, str]:
    try:
        with tokenize.open(file) as stream:
            text = stream.read()
        return compile(text, str(file), "exec", dont_inherit=True), text
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise explain(error, file) from error


def _module_name(file: Path) -> str:
    """The file's stem, so that classes of the configuration can be imported by it, unless that name is another's."""
    stem = file.stem
    taken = stem in sys.modules or stem in sys.stdlib_module_names
    return f"evtfw configuration {stem}" if taken or not stem.isidentifier() or keyword.iskeyword(stem) else stem


def _execute(code: object, module: ModuleType, file: Path) -> None:
    try:
        exec(code, vars(module))  # type: ignore[arg-type]  # noqa: S102  (running it is what a configuration is for)
    except EvtfwError:
        raise
    except (Exception, SystemExit) as error:
        raise explain(error, file) from error


def _the_process(namespace: Mapping[str, object], file: Path) -> Process:
    found = {n: v for n, v in namespace.items() if isinstance(v, Process) and not n.startswith("_")}
    distinct = {id(v): n for n, v in reversed(found.items())}
    if len(distinct) > 1:
        names = " and ".join(f"'{n}'" for n in sorted(distinct.values()))
        raise ConfigurationError(
            f"{file} has {len(distinct)} processes, {names}, but a job runs one; keep one as 'process' and begin the "
            "names of the others with an underscore"
        )
    if "process" in found:
        return found["process"]
    if "process" in namespace:
        kind = type(namespace["process"]).__name__
        raise ConfigurationError(f"{file}: 'process' is a {kind}; write process = Process(\"NAME\")")
    other = f"; it calls its process '{next(iter(found))}': rename it" if found else '; write process = Process("NAME")'
    raise ConfigurationError(f"{file} does not define 'process'{other}")


def _local_modules(before: Mapping[str, ModuleType], folders: set[str]) -> dict[str, ModuleType]:
    """Modules that are new and come from a folder that only this configuration put on ``sys.path``."""
    new = {n: m for n, m in sys.modules.items() if before.get(n) is not m}
    tops = {n for n, m in new.items() if "." not in n and _folder(m) in folders}
    return {n: m for n, m in new.items() if n.partition(".")[0] in tops}


def _folder(module: ModuleType) -> str:
    """Where a top-level module or package was found."""
    file = getattr(module, "__file__", None)
    if file is not None:
        path = Path(file)
        return str(path.parent.parent if path.stem == "__init__" else path.parent)
    return next((str(Path(p).parent) for p in getattr(module, "__path__", ())), "")


def _source(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return Path(file).read_text(errors="replace") if file and file.endswith(".py") else ""


def _forget(modules: Mapping[str, ModuleType]) -> None:
    for name, module in modules.items():
        del sys.modules[name]
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == name and getattr(module, "__file__", None):
                _homes[value] = Path(str(module.__file__))
