"""The entry point: from the words of a command line to an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import click

import evtfw
from evtfw.cli.check import check
from evtfw.cli.completions import completions
from evtfw.cli.describe import describe
from evtfw.cli.dump import dump
from evtfw.cli.emulate import emulate
from evtfw.cli.exit_codes import exit_codes
from evtfw.cli.graph import graph
from evtfw.cli.list import list_plugins
from evtfw.cli.run import run
from evtfw.cli.serve import serve
from evtfw.cli.session import Group, Session, exit_code_of, leave_alone, paragraphs
from evtfw.core.arguments import HelpRequested
from evtfw.core.errors import ExitCode


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw run toptag                       the shipped top-tagging job on its shipped sample",
            "  evtfw run job.py -t 8 -- --files a.root   a job of yours, with arguments of its own",
            "  evtfw serve --model toptag=cpu:toptag  the same model for other processes, as a Triton server offers it",
            "  evtfw check job.py                     all mistakes of a configuration at once",
            "  evtfw list; evtfw describe TopTagger   what is there, and what it takes and gives",
        ]
    ),
)
@click.version_option(evtfw.__version__, message="evtfw %(version)s")
def cli() -> None:
    """Process collision events; let coprocessors do the machine learning.

    A job is a Python file that builds a process from modules. "evtfw COMMAND --help" tells more about a command.
    """


for command in (run, serve, emulate, check, list_plugins, describe, graph, dump, exit_codes, completions):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave the interpreter with its exit code.

    Args:
        arguments: instead of those of the process.
    """
    sys.exit(execute(arguments))


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; errors become messages."""
    session = Session()
    before = _end_quietly_when_nobody_reads()
    try:
        code = cli.main(
            None if arguments is None else list(arguments), prog_name="evtfw", standalone_mode=False, obj=session
        )
        sys.stdout.flush()
    except HelpRequested as help_text:
        click.echo(help_text)
        return ExitCode.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        session.err.print("interrupted", style="bold red")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        leave_alone(sys.stdout)
        return ExitCode.OK
    except Exception as error:
        session.show_error(error)
        return exit_code_of(error)
    finally:
        if before is not None:
            signal.signal(signal.SIGPIPE, before)
    return code if isinstance(code, int) else ExitCode.OK


def _end_quietly_when_nobody_reads() -> signal.Handlers | None:
    """Let ``evtfw list | head`` end as other tools do. ``evtfw run`` does otherwise, see `fail_on_closed_pipes`."""
    if not hasattr(signal, "SIGPIPE"):
        return None
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return before if isinstance(before, signal.Handlers) else None
