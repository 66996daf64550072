"""The job report: ``report.json`` for programs, ``report.html`` for people."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evtfw.core.errors import OutputError
from evtfw.core.job import JobResult
from evtfw.core.observer import Failure, JobInfo
from evtfw.observe.figures import job_figures
from evtfw.observe.memory import Memory
from evtfw.observe.replies import DeviceTiming, ServerTiming
from evtfw.observe.timing import ModuleTiming, Timing

SCHEMA_VERSION = 1
"""Raised when a key changes its meaning or goes; new keys do not raise it."""


@dataclasses.dataclass(frozen=True, slots=True)
class JobRecord:
    """All that a report tells.

    Args:
        configuration: the expanded configuration as text, see ``evtfw dump``.
        options: the options that the job ran with.
        command: the words of the command line.
    """

    info: JobInfo
    result: JobResult
    timing: Timing | None = None
    memory: Memory | None = None
    configuration: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: Sequence[str] = ()
    created_at: dt.datetime = dataclasses.field(default_factory=lambda: dt.datetime.now().astimezone())


def write_report(folder: str | Path, record: JobRecord) -> Path:
    """Write ``report.json`` and ``report.html`` into ``folder``, which is made if needed.

    Returns:
        The path of the HTML page.

    Raises:
        OutputError: if they cannot be written.
    """
    from evtfw.observe.html import render_page

    folder = Path(folder)
    figures = report_dict(record)
    page = folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "report.json", json.dumps(figures, indent=1, allow_nan=False))
        _write(page, render_page(record, figures))
    except OSError as error:
        raise OutputError(
            f"cannot write the report into {folder}: {error.strerror}; choose another --report DIR"
        ) from error
    return page


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def configuration_hash(configuration: str) -> str:
    """SHA-256 of the expanded configuration, hexadecimal: equal for jobs that do the same."""
    return hashlib.sha256(configuration.encode()).hexdigest()


def versions() -> dict[str, Any]:
    """Versions of evtfw, its dependencies, Python and the platform."""
    dependencies = {}
    for requirement in importlib.metadata.requires("evtfw") or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            dependencies[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed
            continue
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "evtfw": importlib.metadata.version("evtfw"),
        "python": platform.python_version() + ("" if has_lock else " free-threaded"),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "host": platform.node(),
        "cores": os.cpu_count(),
        "dependencies": dict(sorted(dependencies.items())),
    }


def report_dict(record: JobRecord) -> dict[str, Any]:
    """Return what ``report.json`` holds."""
    result, timing = record.result, record.timing
    return {
        "schema": "evtfw-job-report",
        "schema_version": SCHEMA_VERSION,
        "process": record.info.process,
        "created_at": record.created_at.isoformat(timespec="seconds"),
        "command": list(record.command),
        "exit_code": int(result.exit_code),
        "exit_name": result.exit_code.name,
        "error": _error(result.error) if result.error is not None else None,
        "stopped_by": result.stopped_by,
        "events": {
            "read": result.events_read,
            "deselected": result.events_deselected,
            "fates": dict(result.fates),
        },
        "files": [dataclasses.asdict(file) for file in result.files],
        "skipped": [dataclasses.asdict(skipped) for skipped in result.skipped],
        "paths": {name: dataclasses.asdict(path) for name, path in result.paths.items()},
        "failures": _failures(result, timing),
        "refused_completions": result.refused_completions,
        "time": {
            "wall_s": result.wall_s,
            "cpu_s": result.cpu_s,
            "threads": record.info.threads,
            "streams": record.info.streams,
            **dataclasses.asdict(job_figures(record.info, result, timing)),
        },
        "statistics": dict(result.statistics),
        "modules": [_module(module, timing) for module in timing.modules] if timing else [],
        "transitions": _transitions(timing),
        "timeline": timing.timeline.to_dict() if timing else {},
        "memory": _memory(record.memory),
        "plan": {
            "nodes": [dataclasses.asdict(node) for node in record.info.nodes],
            "segments": [list(segment) for segment in record.info.segments],
            "paths": {name: list(labels) for name, labels in record.info.paths.items()},
        },
        "configuration": {"sha256": configuration_hash(record.configuration), "text": record.configuration},
        "options": json.loads(json.dumps(dict(record.options), default=str)),
        "versions": versions(),
    }


def _error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}


def _failures(result: JobResult, timing: Timing | None) -> dict[str, Any]:
    kinds = timing.failures if timing else ()
    return {
        "count": result.failures_count,
        "kinds": [
            {"label": kind.label, "type": kind.error_type, "count": kind.count, "first": _failure(kind.first)}
            for kind in kinds
        ],
        "first": [_failure(failure) for failure in result.failures],
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "label": failure.label,
        "transition": failure.transition,
        "event": str(failure.event) if failure.event is not None else None,
        "policy": failure.policy,
        **_error(failure.error),
    }


def _module(module: ModuleTiming, timing: Timing | None) -> dict[str, Any]:
    total_ns = timing.module_wall_ns if timing else 0
    figures: dict[str, Any] = {
        "label": module.label,
        "type": module.type,
        "kind": module.kind,
        "calls": module.calls,
        "wall_s": module.wall_ns * 1e-9,
        "cpu_s": module.cpu_ns * 1e-9 if module.cpu_ns is not None else None,
        "share": module.wall_ns / total_ns if total_ns else 0.0,
        "produce" if module.replies else "call": module.step.wall.to_dict(),
    }
    if module.acquire is not None:
        figures["acquire"] = module.acquire.wall.to_dict()
    if module.replies is not None:
        replies = module.replies
        figures["wait"] = replies.wait.to_dict()
        figures["served"], figures["failed"] = dict(replies.served), dict(replies.failed)
        figures["mean_parts_s"] = {name: value * 1e-9 for name, value in replies.mean_parts_ns.items()}
        figures["mean_batch_rows"] = replies.mean_batch_rows
        figures["servers"] = [_server(server) for server in replies.servers]
    return figures


def _server(server: ServerTiming) -> dict[str, Any]:
    return {
        "name": server.name,
        "replies": server.replies,
        "mean_wait_s": server.mean_wait_ns * 1e-9,
        "mean_parts_s": {name: value * 1e-9 for name, value in server.mean_parts_ns.items()},
        "mean_batch_rows": server.mean_batch_rows,
        "emulated_device": _device(server.device),
    }


def _device(device: DeviceTiming | None) -> dict[str, Any] | None:
    """What was modelled is called so; all else was measured."""
    if device is None:
        return None
    return {
        "name": device.name,
        "replies": device.replies,
        "modelled_device_s": device.mean_device_ns * 1e-9,
        "modelled_queue_s": device.mean_queue_ns * 1e-9,
        "mean_wait_s": device.mean_wait_ns * 1e-9,
        "late": device.late,
        "mean_late_s": device.mean_late_ns * 1e-9,
    }


def _transitions(timing: Timing | None) -> list[dict[str, Any]]:
    return [
        {"name": name, "label": label, "count": number, "total_s": total_ns * 1e-9}
        for (name, label), (number, total_ns) in (timing.transitions.items() if timing else ())
    ]


def _memory(memory: Memory | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {
        "peak_bytes": memory.peak_bytes,
        "growth_bytes_per_10000_events": memory.growth_bytes,
        "series": memory.series.to_dict(),
    }
