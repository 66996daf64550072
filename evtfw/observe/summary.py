"""The timing summary: what a job prints when it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from evtfw.core.errors import ExitCode
from evtfw.core.job import JobResult
from evtfw.core.observer import JobInfo
from evtfw.observe.figures import job_figures
from evtfw.observe.summary_devices import devices_part
from evtfw.observe.summary_parts import padded, plain_table
from evtfw.observe.timing import ModuleTiming, Timing
from evtfw.observe.units import count, duration, percent, rate

PLAIN_WIDTH = 100
_FATE_STYLES = {"written": "green", "passed": "green", "filtered": "", "failed": "red", "unprocessed": "yellow"}
_SHARE_STYLES = {
    "modules": "blue",
    "framework": "magenta",
    "start": "cyan",
    "waiting": "yellow",
    "idle": "bright_black",
}
_BAR_CELLS = 10
_FAILURES_SHOWN = 6
_MESSAGE_LENGTH = 240
_LEAST_SHARE = 0.005


class TimingSummary:
    """Where the events and the time of a job went; ``rich`` renders it.

    Args:
        timing: from `TimingObserver.timing`; without it the tables of modules are left out.
    """

    def __init__(self, info: JobInfo, result: JobResult, timing: Timing | None = None) -> None:
        self._info = info
        self._result = result
        self._timing = timing
        self._figures = job_figures(info, result, timing)

    def print(self, console: Console) -> None:
        """Print it; 100 columns wide where there is no terminal to ask."""
        if not console.is_terminal:
            console = Console(file=console.file, width=max(PLAIN_WIDTH, console.width), color_system=None)
        console.print(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        ascii_only = options.ascii_only
        yield self._headline()
        yield padded(self._job_line(), self._fates())
        if self._timing is not None and self._timing.modules:
            modules = self._modules(self._timing, ascii_only)
            if Measurement.get(console, options.update(max_width=1000), modules).maximum > options.max_width:
                modules.columns.pop()  # the types
            yield modules
            if any(module.replies is not None for module in self._timing.modules):
                yield self._external(self._timing)
                yield from devices_part(self._timing)
        if self._result.paths:
            yield self._paths()
        if self._figures.shares:
            yield self._shares(ascii_only or console.color_system is None, options.max_width)
        if self._figures.verdict:
            yield padded(Text(), Text(self._figures.verdict, style="bold"))
        if self._result.failures_count:
            yield self._failures()
        if self._result.error is not None:
            yield padded(Text(f"The job ended early: {self._result.error}", style="red"))

    def _headline(self) -> Text:
        result = self._result
        text = Text(" ")
        text.append(f"{self._info.process} ", style="bold")
        text.append(f"{count(result.events_read)} events in {duration(result.wall_s)}")
        text.append(f"  {rate(self._figures.events_per_s)} events/s", style="bold cyan")
        if result.exit_code != ExitCode.OK:
            text.append(f"  exit code {int(result.exit_code)} ({result.exit_code.name})", style="bold red")
        if result.stopped_by:
            text.append(f"  stopped by {result.stopped_by}", style="yellow")
        return text

    def _job_line(self) -> Text:
        figures = self._figures
        parts = [f"{figures.threads} threads" if figures.threads != 1 else "1 thread", f"{self._info.streams} streams"]
        if figures.occupancy is not None:
            parts[0] += f" {percent(figures.occupancy)} busy"
        parts.append(f"CPU {duration(self._result.cpu_s)} ({figures.cores:.2f} cores)")
        if figures.start_s is not None:
            parts.append(f"start-up {duration(figures.start_s)}")
        if figures.overhead_us is not None:
            parts.append(f"overhead {duration(figures.overhead_us * 1e-6)}/call")
        return Text(" · ".join(parts), style="dim")

    def _fates(self) -> Text:
        result = self._result
        text = Text()
        present = [(fate, number) for fate, number in result.fates.items() if number]
        for position, (fate, number) in enumerate(present):
            text.append(" + " if position else "")
            text.append(f"{count(number)} {fate}", style=_FATE_STYLES.get(fate, ""))
        text.append(f"{' = ' if present else ''}{count(result.events_read)} read")
        if result.events_deselected:
            text.append(f" ({count(result.events_deselected)} more deselected)", style="dim")
        for skipped in result.skipped:
            text.append(
                f"\nskipped entries {skipped.first} to {skipped.last - 1} of {skipped.origin}: ", style="yellow"
            )
            text.append(skipped.reason)
        if result.refused_completions:
            text.append(f"\n{count(result.refused_completions)} late or repeated replies were refused", style="yellow")
        return text

    def _modules(self, timing: Timing, ascii_only: bool) -> Table:
        table = plain_table("Module", "Calls", "Wall", "CPU", "Mean", "p50", "p99", left=1)
        table.add_column("Share", no_wrap=True, justify="left")
        table.add_column("Type", style="dim", no_wrap=True)
        total_ns = max(1, timing.module_wall_ns)
        for module in timing.modules:
            share = module.wall_ns / total_ns
            cpu_s = module.cpu_ns * 1e-9 if module.cpu_ns is not None else None
            table.add_row(
                module.label,
                count(module.calls),
                duration(module.wall_ns * 1e-9),
                duration(cpu_s),
                *_call_figures(module),
                Text.assemble((bar(share, _BAR_CELLS, ascii_only), "blue"), f" {percent(share):>5}"),
                module.type,
                style="" if module.calls else "dim",
            )
        return table

    def _external(self, timing: Timing) -> RenderableType:
        table = plain_table(
            "External", "Requests", "Failed", "Acquire", "Wait p50", "p99", "Max", "Produce", "In flight", left=1
        )
        table.add_column("Served by", style="dim", overflow="fold")
        for module in timing.modules:
            if module.replies is None:
                continue
            wait, failed = module.replies.wait, sum(module.replies.failed.values())
            in_flight = wait.total_ns * 1e-9 / max(self._result.wall_s, 1e-9)
            table.add_row(
                module.label,
                count(wait.count),
                Text(count(failed), style="red" if failed else "dim"),
                duration(module.acquire.wall.mean_ns * 1e-9 if module.acquire else None),
                *(duration(ns * 1e-9) for ns in (wait.quantile_ns(0.5), wait.quantile_ns(0.99), wait.max_ns)),
                duration(module.step.wall.mean_ns * 1e-9),
                f"{in_flight:.1f}",
                _served_by(module.replies.served),
            )
        return table

    def _paths(self) -> RenderableType:
        table = plain_table("Path", "Accepted", "Rejected", "Failed", "Accepted of all", left=1)
        for name, path in self._result.paths.items():
            all_events = path.accepted + path.rejected + path.failed
            failed = Text(count(path.failed), style="red" if path.failed else "dim")
            share = percent(path.accepted / all_events) if all_events else "-"
            table.add_row(name, count(path.accepted), count(path.rejected), failed, share)
        return table

    def _shares(self, letters: bool, width: int) -> RenderableType:
        """A strip of the threads' time; of letters where there are no colours to tell its parts apart."""
        shares = self._figures.shares
        cells = _cells([share.fraction for share in shares], max(20, width - 2))
        strip, legend = Text(no_wrap=True), Text()
        for share, number in zip(shares, cells, strict=True):
            fill = share.name[0] if letters else "█"
            strip.append(fill * number, style=_SHARE_STYLES[share.kind])
            if share.fraction < _LEAST_SHARE:
                continue
            waits = "waiting for " if share.kind == "waiting" else ""
            legend.append(f"{fill if letters else '■'} ", style=_SHARE_STYLES[share.kind])
            legend.append(f"{waits}{share.name} {percent(share.fraction)}   ")
        return padded(Text("Time of the threads", style="bold"), strip, legend)

    def _failures(self) -> RenderableType:
        table = plain_table("Failures in", "Error", "Count", left=2)
        table.add_column("First", overflow="fold", ratio=1)
        kinds = self._timing.failures if self._timing else ()
        for kind in kinds[:_FAILURES_SHOWN]:
            table.add_row(kind.label, Text(kind.error_type, style="red"), count(kind.count), _shortened(kind.message))
        left = self._result.failures_count - sum(kind.count for kind in kinds[:_FAILURES_SHOWN])
        if left:
            table.add_row(Text("others" if kinds else "all", style="dim"), "", count(left), "")
        return table


def _call_figures(module: ModuleTiming) -> tuple[str, str, str]:
    wall = module.step.wall
    return tuple(  # type: ignore[return-value]
        duration(ns * 1e-9) if wall.count else "-"
        for ns in (wall.mean_ns, wall.quantile_ns(0.5), wall.quantile_ns(0.99))
    )


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 1] + "…"


def bar(fraction: float, cells: int, ascii_only: bool = False) -> str:
    """A horizontal bar in eighths of a cell, padded to ``cells``.

    >>> bar(0.5, 4), bar(0.5, 4, ascii_only=True)
    ('██  ', '##  ')
    """
    if ascii_only:
        return ("#" * round(fraction * cells)).ljust(cells)
    eighths = round(fraction * cells * 8)
    return ("█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()).ljust(cells)


def _served_by(served: Mapping[str, int]) -> str:
    """Who answered; how often, if there were several."""
    return " + ".join(f"{name} ({count(number)})" if len(served) > 1 else name for name, number in served.items())


def _cells(fractions: list[float], width: int) -> list[int]:
    """Whole cells for each fraction, together ``width``: what rounding leaves goes to the largest remainders."""
    total = sum(fractions)
    exact = [fraction / total * width for fraction in fractions]
    cells = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda number: cells[number] - exact[number])
    for number in by_remainder[: width - sum(cells)]:
        cells[number] += 1
    return cells
