"""``evtfw graph``: the module graph of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evtfw.cli.process_options import apply_options, process_options
from evtfw.cli.session import ConfigurationCommand, Session, configuration_argument, paragraphs, write_text

_SUFFIXES = {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".md": "mermaid", ".svg": "svg"}


@click.command(
    cls=ConfigurationCommand,
    short_help="draw the modules of a job",
    epilog=paragraphs(
        ["Examples:", "  evtfw graph job.py -o job.svg", "  evtfw graph job.py --format dot | dot -Tpdf > job.pdf"]
    ),
)
@configuration_argument
@click.option(
    "--format",
    "style",
    type=click.Choice(["dot", "mermaid", "svg"]),
    help="default: from the file's name, else mermaid",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="write to this file", metavar="FILE"
)
@click.option("--all-edges", is_flag=True, help="show the edges too that follow from others")
@process_options
@click.pass_obj
def graph(
    session: Session,
    /,
    *,
    config: str,
    arguments: tuple[str, ...],
    style: str | None,
    output: Path | None,
    all_edges: bool,
    **options: Any,
) -> None:
    """Draw the modules of a job and what each waits for."""
    from evtfw.core.job import Job
    from evtfw.core.loading import load_configuration
    from evtfw.observe.graph import to_dot, to_mermaid, to_svg

    configuration = load_configuration(config, arguments)
    if configuration.note:
        session.say(configuration.note)
    apply_options(configuration.process, options)
    info = Job(configuration.process).info
    chosen = style or (_SUFFIXES.get(output.suffix, "mermaid") if output is not None else "mermaid")
    text = {"dot": to_dot, "mermaid": to_mermaid, "svg": to_svg}[chosen](info, every=all_edges)
    if output is not None:
        write_text(output, text)
    else:
        click.echo(text.rstrip("\n"))
