"""``evtfw completions SHELL``: what makes a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from evtfw.cli.session import Command, paragraphs

_SETUP = {
    "bash": 'eval "$(evtfw completions bash)"',
    "zsh": 'eval "$(evtfw completions zsh)"',
    "fish": "evtfw completions fish | source",
}


@click.command(
    cls=Command,
    short_help="completion script of a shell",
    epilog=paragraphs(["Put one of these lines into the shell's start-up file:", *(f"  {s}" for s in _SETUP.values())]),
)
@click.argument("shell", type=click.Choice(list(_SETUP)))
@click.pass_context
def completions(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    maker = kind(ctx.find_root().command, {}, "evtfw", "_EVTFW_COMPLETE")
    click.echo(maker.source_template % maker.source_vars())
