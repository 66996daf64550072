"""``evtfw check``: everything that is wrong with a job, before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from evtfw.cli.process_options import apply_options, process_options
from evtfw.cli.session import ConfigurationCommand, Session, configuration_argument

if TYPE_CHECKING:
    from evtfw.core.loading import Configuration
    from evtfw.core.observer import JobInfo


@click.command(cls=ConfigurationCommand, short_help="find all mistakes of a configuration, process nothing")
@configuration_argument
@process_options
@click.pass_obj
def check(session: Session, /, *, config: str, arguments: tuple[str, ...], **options: Any) -> None:
    """Compile a job and open its source, but process nothing; report all mistakes together.

    Shows what would run: modules, paths, and how many events there are.
    """
    from evtfw.core.job import Job
    from evtfw.core.loading import load_configuration

    configuration = load_configuration(config, arguments, keep_imports=True)
    if configuration.note:
        session.say(configuration.note)
    apply_options(configuration.process, options)
    info = Job(configuration.process, say=session.say).info
    session.out.print(Text.assemble(("✓ ", "bold green"), f"{configuration.file} is ready to run"), soft_wrap=True)
    session.out.print(_plan(configuration, info))


def _plan(configuration: Configuration, info: JobInfo) -> Table:
    process = configuration.process
    labels = {node.label: node for node in info.nodes if node.kind not in ("source", "framework")}
    external = [label for label, node in labels.items() if node.phase in ("acquire", "produce")]
    unused = [label for label in process.modules if label not in labels and label != "source"]
    source = type(process.modules["source"]).__name__ if "source" in process.modules else "none"
    events = "unknown" if info.events_expected is None else f"{info.events_expected:,}".replace(",", " ")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("process", info.process)
    table.add_row("source", f"{source}, events: {events}")
    table.add_row("modules", f"{len(labels)} in {len(info.segments)} segments")
    if external:
        table.add_row("external", ", ".join(external))
    for name, modules in info.paths.items():
        table.add_row(f"path {name}", " → ".join(modules) or "empty")
    if unused:
        table.add_row("not run", f"{', '.join(unused)} (on no path, and nobody consumes what they make)")
    table.add_row("run with", f"{info.threads} threads, {info.streams} streams")
    return table
