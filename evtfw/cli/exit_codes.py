"""``evtfw exit-codes``: what the numbers mean."""

from __future__ import annotations

import click
from rich.table import Table

from evtfw.cli.session import Command, Session
from evtfw.core.errors import ExitCode

MEANINGS = {
    ExitCode.OK: "all events were processed as asked",
    ExitCode.INTERNAL: "a mistake of evtfw itself; please report it",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.CONFIGURATION: "the configuration is wrong; no event was read",
    ExitCode.INPUT: "an input cannot be found, opened or decoded",
    ExitCode.OUTPUT: "an output cannot be written or completed",
    ExitCode.MODULE: "a module raised an exception",
    ExitCode.PRODUCT: "a module read a product that is not there",
    ExitCode.EXTERNAL: "external work failed: no server, no reply in time, or a reply that does not fit",
    ExitCode.OUT_OF_MEMORY: "memory ran out",
    ExitCode.INTERRUPTED: "SIGINT (Ctrl-C); events in flight were finished",
    ExitCode.TERMINATED: "SIGTERM; events in flight were finished",
}


def exit_code_lines() -> list[str]:
    """Return one line for each exit code, for help texts."""
    return ["Exit codes:", *(f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items())]


@click.command("exit-codes", cls=Command, short_help="what the exit codes mean")
@click.pass_obj
def exit_codes(session: Session) -> None:
    """Tell what the exit codes mean. They are stable."""
    table = Table("code", "name", "meaning", box=None)
    for code, meaning in MEANINGS.items():
        table.add_row(str(code.value), code.name, meaning)
    session.out.print(table)
