"""What ``evtfw serve`` shows: its models when it starts, and what became of the requests when it ends."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from evtfw.external.contract import TensorSpec
from evtfw.external.service.model import HostedModel
from evtfw.external.service.statistics import Duration


def model_table(models: Iterable[HostedModel]) -> Table:
    """Return a table of what is served."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "version", "backend", "inputs", "outputs", "batch", "instances"):
        table.add_column(heading, overflow="fold", style="cyan" if heading == "model" else "")
    for model in models:
        description = model.description
        table.add_row(
            model.name,
            model.version,
            model.backend.summary,
            _tensors(description.inputs),
            _tensors(description.outputs),
            str(description.max_batch_size or "no"),
            str(model.instances),
        )
    return table


def statistics_table(models: Iterable[HostedModel]) -> Table:
    """Return a table of what became of the requests."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", style="cyan", overflow="fold")
    for heading in ("version", "answered", "failed", "cancelled", "rejected", "rows", "rows/batch", "queue", "compute"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in models:
        counts = model.statistics()
        rows_per_batch = counts.inference_count / counts.execution_count if counts.execution_count else 0.0
        numbers = [counts.success.count, counts.fail.count, counts.cancel.count, counts.reject.count]
        table.add_row(
            model.name,
            model.version,
            *map(str, numbers),
            str(counts.inference_count),
            f"{rows_per_batch:.1f}",
            _mean(counts.queue),
            _mean(counts.compute_infer),
        )
    return table


def _tensors(specs: tuple[TensorSpec, ...]) -> str:
    return "\n".join(map(str, specs)) or "any"


def _mean(duration: Duration) -> str:
    return f"{duration.ns / duration.count * 1e-6:.2f} ms" if duration.count else "-"
