"""The page of a job report: one file, nothing loaded from elsewhere, for light and dark, wide and narrow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from evtfw.core.errors import ExitCode
from evtfw.observe.figures import JobFigures, Share, job_figures
from evtfw.observe.graph import to_svg
from evtfw.observe.html_parts import Html, bar, details, section, strip, table, text, tile
from evtfw.observe.html_timing import external_part, modules_part, over_time_part, transitions_part
from evtfw.observe.report import JobRecord
from evtfw.observe.units import count, duration, percent, rate, size

_FATES = {"written": "good", "passed": "good2", "filtered": "plain", "failed": "bad", "unprocessed": "warn"}
_SHARES = {"modules": "accent", "framework": "magenta", "start": "cyan", "idle": "plain"}
_WAITS = {"source": "warn", "output": "good2"}
_EXTERNAL_WAITS = ("external", "violet2", "bad", "good")


def render_page(record: JobRecord, report: Mapping[str, Any]) -> str:
    """Return the page; ``report`` is what `evtfw.observe.report.report_dict` made of the record."""
    figures = job_figures(record.info, record.result, record.timing)
    timing = record.timing
    body = [
        _header(record),
        _tiles(record, figures),
        _error(record),
        section("Events", _fates(record), _paths(record)),
        section("Time of the threads", _shares(figures), note=figures.verdict),
        section("Over time", *over_time_part(record)),
        section("Time per module", modules_part(timing)) if timing else "",
        section("External work", *external_part(record, timing)) if timing else "",
        section("Module graph", _graph(record)),
        section("Failures", _failures(report)),
        section("Input", _files(record)),
        section("Transitions", transitions_part(timing)) if timing else "",
        section("Configuration", *_configuration(report)),
    ]
    style = files("evtfw.observe").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(record.info.process)}: evtfw job report</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _header(record: JobRecord) -> Html:
    code = record.result.exit_code
    ok = code == ExitCode.OK
    words = "completed" if ok else f"exit code {int(code)}: {code.name}"
    stopped = f" · stopped by {record.result.stopped_by}" if record.result.stopped_by else ""
    command = f"<code>{escape(' '.join(record.command))}</code>" if record.command else ""
    when = f"{record.created_at:%Y-%m-%d %H:%M:%S %Z}"
    return Html(
        f'<header><div><div class="over">evtfw job report · {escape(when)}{escape(stopped)}</div>'
        f"<h1>{escape(record.info.process)}</h1>{command}</div>"
        f'<span class="pill {"good" if ok else "bad"}">{escape(words)}</span></header>'
    )


def _tiles(record: JobRecord, figures: JobFigures) -> Html:
    result = record.result
    occupancy = percent(figures.occupancy) if figures.occupancy is not None else "-"
    tiles = [
        tile(count(result.events_read), "events", f"{len(result.files)} files"),
        tile(rate(figures.events_per_s), "events per second"),
        tile(duration(result.wall_s), "wall time", f"first event after {duration(figures.start_s)}"),
        tile(occupancy, "threads busy", f"{figures.threads} threads, {record.info.streams} streams"),
        tile(f"{figures.cores:.2f}", "cores used", f"CPU {duration(result.cpu_s)}"),
    ]
    if figures.overhead_us is not None and record.timing is not None:
        per_call = duration(figures.overhead_us * 1e-6)
        tiles.append(tile(per_call, "framework per call", f"{count(record.timing.module_calls)} module calls"))
    if record.memory is not None and record.memory.peak_bytes:
        growth = record.memory.growth_bytes
        detail = f"{size(growth)} per 10 000 events" if growth is not None else ""
        tiles.append(tile(size(record.memory.peak_bytes), "peak memory", detail))
    if result.failures_count:
        tiles.append(tile(count(result.failures_count), "failures", style="bad"))
    return Html(f'<div class="tiles">{"".join(tiles)}</div>')


def _error(record: JobRecord) -> Html:
    error = record.result.error
    return Html(f'<div class="alert">The job ended early: {text(error)}</div>') if error is not None else Html()


def _fates(record: JobRecord) -> Html:
    result = record.result
    parts = [
        (
            fate,
            float(number),
            f"{count(number)} · {percent(number / max(1, result.events_read))}",
            _FATES.get(fate, "plain"),
        )
        for fate, number in result.fates.items()
        if number
    ]
    total = " + ".join(count(number) for number in result.fates.values() if number)
    more = f", {count(result.events_deselected)} more were deselected" if result.events_deselected else ""
    late = (
        f" {count(result.refused_completions)} late or repeated replies were refused."
        if result.refused_completions
        else ""
    )
    sentence = f"{total or 0} = {count(result.events_read)} events read{more}.{late}"
    return Html(f'{strip(parts)}<p class="note">{escape(sentence)}</p>')


def _paths(record: JobRecord) -> Html:
    rows = []
    for name, path in record.result.paths.items():
        events = path.accepted + path.rejected + path.failed
        share = bar(path.accepted / events if events else 0.0, "good")
        labels = Html(f'<span class="soft">{escape(" → ".join(record.info.paths.get(name, ())))}</span>')
        rows.append((name, labels, share, count(path.accepted), count(path.rejected), count(path.failed)))
    return table(("Path", "Modules", "Accepted", "", "Rejected", "Failed"), rows, left=3)


def _shares(figures: JobFigures) -> Html:
    external = itertools.cycle(_EXTERNAL_WAITS)
    parts = []
    for share in figures.shares:
        name = f"waiting for {share.name}" if share.kind == "waiting" else share.name
        parts.append((name, share.fraction, percent(share.fraction), _share_style(share, external)))
    return strip(parts) if parts else Html()


def _share_style(share: Share, external: Iterator[str]) -> str:
    return _SHARES.get(share.kind) or _WAITS.get(share.name) or next(external)


def _graph(record: JobRecord) -> Html:
    svg = to_svg(record.info, timing=record.timing)
    note = "Dashed: from a request to its reply. Shaded by the share of the time."
    return Html(f'<div class="scroll graph">{svg}</div><p class="note">{note}</p>')


def _failures(report: Mapping[str, Any]) -> Html:
    kinds = report["failures"]["kinds"]
    if kinds:
        firsts = [kind["first"] for kind in kinds]
        rows = [
            (kind["label"], kind["type"], first["message"], count(kind["count"]), first["event"] or "-")
            for kind, first in zip(kinds, firsts, strict=True)
        ]
        return table(("Module", "Error", "First message", "Count", "First event"), rows, left=3)
    few = [(f["label"], f["type"], f["message"], f["event"] or "-") for f in report["failures"]["first"]]
    return table(("Module", "Error", "Message", "Event"), few, left=3)


def _files(record: JobRecord) -> Html:
    rows: list[tuple[object, ...]] = [
        (file.origin, "", count(file.first), count(file.last - 1), count(file.last - file.first))
        for file in record.result.files
    ]
    rows += [
        (
            s.origin,
            Html(f'<b class="warn">skipped: {escape(s.reason)}</b>'),
            count(s.first),
            count(s.last - 1),
            count(s.last - s.first),
        )
        for s in record.result.skipped
    ]
    return table(("File", "", "First entry", "Last entry", "Entries"), rows, left=2)


def _configuration(report: Mapping[str, Any]) -> list[Html]:
    version = report["versions"]
    facts = [
        (name, str(version[key]))
        for name, key in (("evtfw", "evtfw"), ("Python", "python"), ("Platform", "platform"), ("Cores", "cores"))
    ]
    facts.append(("Configuration SHA-256", report["configuration"]["sha256"]))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    options = table(("Option", "Value"), sorted(report["options"].items()), left=2)
    packages = table(("Package", "Version"), version["dependencies"].items(), left=2)
    configuration = report["configuration"]["text"]
    return [
        Html(f'<dl class="wide">{listed}</dl>'),
        details("The expanded configuration", f"<pre>{escape(configuration)}</pre>" if configuration else ""),
        details("Options", options),
        details("Packages", packages),
    ]
