"""``evtfw run``: a job from its configuration to its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evtfw.cli.exit_codes import exit_code_lines
from evtfw.cli.process_options import apply_options, process_options
from evtfw.cli.session import ConfigurationCommand, Session, configuration_argument, paragraphs


@click.command(
    cls=ConfigurationCommand,
    short_help="process events as a configuration says",
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw run toptag --threads 8 --streams 4",
            "  evtfw run job.py -n 1000 --report report -- --files data/*.root",
            "  evtfw run job.py -- --help             arguments of this configuration",
        ],
        [
            "Signals:",
            "  SIGINT, SIGTERM  finish events in flight and complete the outputs; once more: leave at once",
            "  SIGUSR1          tell on standard error what every stream and thread is doing",
        ],
        exit_code_lines(),
    ),
)
@configuration_argument
@process_options
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="write job report (JSON, HTML)"
)
@click.option(
    "--trace", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="write a trace for ui.perfetto.dev"
)
@click.option("--progress/--no-progress", default=True, help="show progress; plain lines where there is no terminal")
@click.option("-q", "--quiet", is_flag=True, help="show only warnings and errors")
@click.option("--no-timing", is_flag=True, help="measure no module times; the summary is short then")
@click.pass_obj
def run(session: Session, /, *, config: str, arguments: tuple[str, ...], quiet: bool, **options: Any) -> int:
    """Process events as the configuration CONFIG says.

    CONFIG is a Python file, or the name of a configuration that comes with evtfw (see "evtfw list configs"). Options
    given here override process.options of the configuration; arguments behind -- are the configuration's own.
    """
    from evtfw.cli.execution import Execution
    from evtfw.cli.signals import fail_on_closed_pipes
    from evtfw.cli.tuning import set_switch_interval, tune_allocator
    from evtfw.core.loading import load_configuration

    fail_on_closed_pipes()
    tune_allocator()
    configuration = load_configuration(config, arguments, keep_imports=True)
    if configuration.note and not quiet:
        session.say(configuration.note)
    watching = {name: options.pop(name) for name in ("report", "trace", "progress", "no_timing")}
    apply_options(configuration.process, options)
    set_switch_interval(configuration.process.options.switch_interval_s)
    return Execution(session, configuration, quiet=quiet, **watching).run()
