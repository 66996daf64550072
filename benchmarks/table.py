"""Shows reports on a terminal."""

from __future__ import annotations

import os
import platform

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure, Report


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def show(name: str, report: Report, console: Console) -> None:
    """Print a report; figures without a target stand beside for comparison."""
    table = Table(title=f"{name}: {report.title}", title_justify="left", title_style="bold")
    for column in ("", "quantity"):
        table.add_column(column)
    for column in ("measured", "best", "target", "ratio", ""):
        table.add_column(column, justify="right")
    group = None
    for figure in report.figures:
        if group is not None and figure.group != group:
            table.add_section()
        table.add_row("" if figure.group == group else figure.group, *_cells(figure))
        group = figure.group
    console.print(table)
    for note in report.notes:
        console.print(f"  {note}", style="dim", highlight=False)
    console.print()


def _cells(figure: Figure) -> list[str]:
    cells = [figure.name, f"{_number(figure.value)} {figure.unit}", _number(figure.best), "", "", ""]
    if figure.target is not None:
        sign = "≥" if figure.at_least else "≤"
        verdict = "[green]pass[/]" if figure.passed else "[red]fail[/]"
        cells[3:] = [
            f"{sign} {_number(figure.target)}",
            f"{figure.ratio:.2f}" if figure.ratio is not None else "-",
            verdict,
        ]
    return cells


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"
