"""Arguments of a configuration: what stands after ``--`` on the command line, typed and with ``--help``."""

from __future__ import annotations

import argparse
import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any, Self, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from evtfw.core.errors import ConfigurationError, EvtfwError, ExitCode, nearest


class _Given:
    """What stood after ``--``, and whether the configuration looked at it."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.is_read = not self.words


_given: contextvars.ContextVar[_Given | None] = contextvars.ContextVar("configuration arguments", default=None)


class HelpRequested(EvtfwError):
    """``-- --help`` was given: the message is the help text. Not a mistake."""

    exit_code = ExitCode.OK


@contextlib.contextmanager
def given_arguments(arguments: Sequence[str] | None) -> Iterator[None]:
    """While a configuration is being loaded: what stood after ``--``; None inside another one: what that was given.

    Raises:
        ConfigurationError: at the end, if there are arguments and the configuration did not parse them.
    """
    if arguments is None:
        yield
        return
    given = _Given(arguments)
    token = _given.set(given)
    try:
        yield
    finally:
        _given.reset(token)
    if not given.is_read:
        raise ConfigurationError(
            f"the configuration takes no arguments, but was given {' '.join(given.words)!r} after '--'; a class "
            "derived from Arguments and a call of its parse() would read them"
        )


class Arguments(BaseModel):
    """Base of a configuration's arguments: a pydantic model whose fields become ``--options``.

    >>> from pydantic import Field
    >>> class Args(Arguments):
    ...     files: list[str] = Field(["a.root"], description="input files")
    ...     score_min: float = Field(0.9, ge=0, le=1, description="lowest score kept")
    >>> Args.parse(["--files", "b.root", "c.root", "--score-min", "0.5"])
    Args(files=['b.root', 'c.root'], score_min=0.5)
    """

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> Self:
        """Make the object from ``arguments``, or from what stands after ``--`` on the command line.

        Raises:
            ConfigurationError: for unknown options and for values that do not fit, all together.
            HelpRequested: for ``--help``.
        """
        parser = _parser(cls)
        given = (_given.get() if arguments is None else None) or _Given(arguments or ())
        given.is_read = True
        words = list(given.words)
        values, rest = parser.parse_known_args(words)
        if values.help:
            raise HelpRequested(parser.format_help())
        options = [f"--{name.replace('_', '-')}" for name in cls.model_fields]
        problems = [f"argument '{word}' after '--' is not known{nearest(word.split('=')[0], options)}" for word in rest]
        chosen = {k: v for k, v in vars(values).items() if k != "help" and v is not None}
        try:
            made = cls.model_validate(chosen)
        except ValidationError as error:
            problems += [_problem(e) for e in error.errors()]
        if problems:
            raise ConfigurationError(problems)
        return made


def _problem(error: Any) -> str:
    name = str(error["loc"][0]).replace("_", "-") if error["loc"] else ""
    given = f" (given: {error['input']!r})" if error["type"] != "missing" else ""
    return f"argument --{name}: {error['msg']}{given}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigurationError(f"arguments after '--': {message}")


def _parser(model: type[Arguments]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="CONFIGURATION --",
        add_help=False,
        allow_abbrev=False,
        description=(model.__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--help", "-h", action="store_true", help="show this help and end")
    for name, field in model.model_fields.items():
        _add_option(parser, name, field)
    return parser


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    flag = f"--{name.replace('_', '-')}"
    default = "required" if field.is_required() else f"default: {field.get_default(call_default_factory=True)!r}"
    text = f"{field.description or ''} ({default})".strip().replace("%", "%%")
    if field.annotation is bool:
        parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif get_origin(field.annotation) in (list, tuple, set):
        parser.add_argument(flag, dest=name, nargs="+", default=None, help=text, metavar="VALUE")
    else:
        parser.add_argument(flag, dest=name, default=None, help=text, metavar="VALUE")
