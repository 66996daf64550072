"""What went wrong in a configuration file, said in terms of that file."""

from __future__ import annotations

import builtins
import re
import site
import sys
import traceback
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.core.process import ProcessOptions


def explain(error: BaseException, file: Path) -> ConfigurationError:
    """Turn what running the configuration ``file`` raised into a message with the file and line that caused it."""
    if isinstance(error, SyntaxError) and not _is_raised_within(error):
        return ConfigurationError(_syntax(error, file))
    place = _place(error.__traceback__, file)
    if isinstance(error, ValidationError):
        return ConfigurationError(f"{place}: {_validation(error, dict(one))}" for one in error.errors())
    if isinstance(error, SystemExit):
        said = f" ({error.code})" if error.code not in (None, 0) else ""
        return ConfigurationError(f"{place}: the configuration ended the program{said} instead of describing a job")
    name = f"{type(error).__module__}.".removeprefix("builtins.") + type(error).__qualname__
    return ConfigurationError(f"{place}: {name}: {error}{_hint(error, file)}")


def _hint(error: BaseException, file: Path) -> str:
    """What Python's own traceback would suggest (from 3.12 on all of it), and a little more."""
    missing, known = "", []
    match error:
        case ModuleNotFoundError(name=str(missing)):
            known = [f.stem for f in file.resolve().parent.glob("*.py")]
        case ImportError(name=str(module)) if found := re.search(r"cannot import name '(\w+)'", str(error)):
            missing, known = found[1], dir(sys.modules.get(module))
        case NameError(name=str(missing)):
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            known = [*frames[-1].f_locals, *frames[-1].f_globals, *dir(builtins)]
        case AttributeError(name=str(missing), obj=holder):
            known = dir(holder)
    hint = nearest(missing, known)
    if hint.startswith("; did you mean"):
        return hint
    return "; is it installed in this environment?" if isinstance(error, ModuleNotFoundError) else ""


def _is_raised_within(error: SyntaxError) -> bool:
    """Whether it was raised by code that ran (``eval`` of a string, say) and not by reading the file or an import."""
    return error.filename is None or error.filename.startswith("<")


def _syntax(error: SyntaxError, file: Path) -> str:
    name = str(file) if error.filename == str(file) else str(error.filename)
    lines = [f"{name}:{error.lineno}: {type(error).__name__}: {error.msg}"]
    if error.text:
        text = error.text.rstrip("\n")
        margin = len(text) - len(text.lstrip())
        lines += [f"      {text.lstrip()}", f"      {' ' * max(0, (error.offset or 1) - 1 - margin)}^"]
    return "\n".join(lines)


def _validation(error: ValidationError, one: dict[str, object]) -> str:
    location = one["loc"]
    name = ".".join(map(str, location)) if isinstance(location, tuple) else ""
    if error.title != ProcessOptions.__name__:
        return f"{error.title}.{name}: {one['msg']} (given: {one['input']!r})"
    if one["type"] in ("no_such_attribute", "extra_forbidden"):
        return f"process.options has no '{name}'{nearest(name, ProcessOptions.model_fields)}"
    return f"process.options.{name}: {one['msg']} (given: {one['input']!r})"


def _place(trace: TracebackType | None, file: Path) -> str:
    """The innermost line of the configuration, or of a file that it imported from beside it."""
    own = [f for f in traceback.extract_tb(trace) if _is_own(f.filename, file)]
    if not own:
        return str(file)
    place = f"{own[-1].filename}:{own[-1].lineno}"
    if own[-1].filename != str(file):
        outer = [f for f in own if f.filename == str(file)]
        place += f" (from {file}:{outer[-1].lineno})" if outer else ""
    return place


def _is_own(filename: str, file: Path) -> bool:
    if filename == str(file):
        return True
    path = Path(filename)
    folder = file.resolve().parent
    libraries = [Path(__file__).parent.parent, *map(Path, site.getsitepackages())]
    return path.is_relative_to(folder) and not any(path.is_relative_to(library) for library in libraries)
