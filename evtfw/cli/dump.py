"""``evtfw dump``: the configuration after all its Python has run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

import evtfw
from evtfw.cli.process_options import apply_options, process_options
from evtfw.cli.session import ConfigurationCommand, Session, configuration_argument, paragraphs, write_text


@click.command(
    cls=ConfigurationCommand,
    short_help="print the expanded configuration as Python",
    epilog=paragraphs(
        ["Example:", "  evtfw dump job.py -t 8 -o expanded.py -- --score-min 0.8 && evtfw run expanded.py"]
    ),
)
@configuration_argument
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="write to this file", metavar="FILE"
)
@process_options
@click.pass_obj
def dump(session: Session, /, *, config: str, arguments: tuple[str, ...], output: Path | None, **options: Any) -> None:
    """Print the expanded configuration as Python that runs to the same job.

    All parameters, inputs and options are written out, defaults too. Options given here are in it.
    """
    from evtfw.core.dump import dump as dump_process
    from evtfw.core.loading import load_configuration

    configuration = load_configuration(config, arguments)
    if configuration.note:
        session.say(configuration.note)
    apply_options(configuration.process, options)
    origin = shlex.join([str(configuration.file), *(["--", *arguments] if arguments else [])])
    text = f"# Expanded by evtfw {evtfw.__version__} from: {origin}\n{dump_process(configuration.process)}"
    if output is not None:
        write_text(output, text)
    elif session.out.is_terminal:
        from rich.syntax import Syntax

        session.out.print(Syntax(text, "python", background_color="default"))
    else:
        click.echo(text, nl=False)
