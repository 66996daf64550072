"""What all sub-commands share: where they write, how they report errors, and their common options."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import IO, Any

import click
from rich.console import Console
from rich.text import Text

from evtfw.core.errors import ConfigurationError, EvtfwError, ExitCode, nearest

PLAIN_WIDTH = 120
"""Columns where there is no terminal to ask."""
_TALKATIVE = ("matplotlib", "asyncio", "numba", "fsspec")
"""Libraries whose debugging records are no help with a job."""


class _Console(Console):
    """A console that takes text as it is, and falls silent when its reader has gone: the job matters more."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **settings)

    def on_broken_pipe(self) -> None:
        """Write no more, also not at exit."""
        self.quiet = True
        leave_alone(self.file)


def leave_alone(file: IO[str]) -> None:
    """Let what is still buffered for a reader that has gone vanish instead of failing when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, file.fileno())
    os.close(null)


@dataclasses.dataclass(slots=False)
class Session:
    """One call of the command.

    Args:
        debug: show tracebacks.
        verbosity: 0 for warnings, 1 for information, 2 for everything that is logged.
    """

    debug: bool = False
    verbosity: int = 0

    @cached_property
    def out(self) -> Console:
        """Standard output: what was asked for."""
        console = _Console()
        return console if console.is_terminal else _Console(width=max(PLAIN_WIDTH, console.width))

    @cached_property
    def err(self) -> Console:
        """Standard error: progress, logs and mistakes."""
        return _Console(stderr=True)

    def say(self, line: str) -> None:
        """Tell the user one line beside the results."""
        self.err.print(Text(line, style="cyan"), soft_wrap=True)

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """While a sub-command runs: log records and warnings are shown on standard error."""
        from rich.logging import RichHandler

        level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(self.verbosity, 2)]
        handler = RichHandler(level, self.err, show_time=self.verbosity > 1, show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root = logging.getLogger()
        before = root.level
        root.addHandler(handler)
        root.setLevel(level)
        logging.captureWarnings(capture=True)
        if level == logging.DEBUG:
            for library in _TALKATIVE:
                logging.getLogger(library).setLevel(logging.INFO)
        try:
            yield
        finally:
            logging.captureWarnings(capture=False)
            root.setLevel(before)
            root.removeHandler(handler)

    def show_error(self, error: BaseException) -> None:
        """Say what went wrong; the traceback only if it is asked for or if the mistake is evtfw's own."""
        own = isinstance(error, EvtfwError)
        message = str(error) if own else f"{type(error).__name__}: {error}"
        head = "error" if own else "internal error"
        self.err.print(Text.assemble((f"{head}: ", "bold red"), message), soft_wrap=True)
        if self.debug:
            self.err.print(Text("".join(traceback.format_exception(error)), style="dim"), soft_wrap=True)
        elif not own:
            self.err.print("This should not happen. Please report it, with what --debug shows.", soft_wrap=True)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error that ended the command."""
    if isinstance(error, MemoryError):
        return ExitCode.OUT_OF_MEMORY
    return error.exit_code if isinstance(error, EvtfwError) else ExitCode.INTERNAL


class Command(click.Command):
    """A sub-command with ``--debug`` and ``--verbose``, and with near names for mistyped choices."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--debug"], is_flag=True, expose_value=False, callback=_set_debug, help="show tracebacks of errors"
            ),
            click.Option(
                ["-v", "--verbose"],
                count=True,
                expose_value=False,
                callback=_set_verbosity,
                help="tell more; twice: all",
            ),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run it with logging set up."""
        with ctx.ensure_object(Session).logging():
            return super().invoke(ctx)


class ConfigurationCommand(Command):
    """A sub-command ``evtfw NAME CONFIG [-- ARGUMENTS]``; gets them as ``arguments``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut off what stands behind ``--``."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.params["arguments"] = tuple(args[cut + 1 :])
        return super().parse_args(ctx, args[:cut])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Mention the arguments in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGUMENTS]"]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Explain what a surplus word might have been meant for."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            message = f"{error.message.rstrip('.')}; arguments of the configuration stand after '--'"
            raise click.UsageError(message, error.ctx) from None


class Group(click.Group):
    """The command itself; suggests the nearest sub-command."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return them in the order in which a newcomer needs them."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the sub-command."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            hint = nearest(args[0], self.commands)
            looks_like_file = args[0].endswith(".py")
            ctx.fail(f"there is no command '{args[0]}'" + (f"; evtfw run {args[0]}?" if looks_like_file else hint))
        return super().resolve_command(ctx, args)


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Session).debug |= value


def _set_verbosity(ctx: click.Context, _: click.Parameter, value: int) -> None:
    ctx.ensure_object(Session).verbosity += value


def configuration_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument CONFIG, completed by files and shipped configurations."""
    return click.argument("config", shell_complete=_complete_configuration)(function)


def _complete_configuration(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from evtfw.core.loading import shipped_configurations

    names = [f.stem for f in shipped_configurations() if f.stem.startswith(incomplete)] if incomplete else []
    return [CompletionItem(incomplete, type="file"), *map(CompletionItem, names)]


def write_text(file: Any, text: str) -> None:
    """Write a result to a file.

    Raises:
        ConfigurationError: if that is not possible.
    """
    try:
        file.write_text(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from error


def paragraphs(*blocks: Sequence[str] | str) -> str:
    """Return help text whose blocks click leaves as they are."""
    return "\n\n".join("\b\n" + (block if isinstance(block, str) else "\n".join(block)) for block in blocks)
