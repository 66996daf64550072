"""The parts of the report's page that show times: charts, the table of modules, external work."""

from __future__ import annotations

from html import escape
from typing import Any

from evtfw.observe.charts import histogram_chart, mean_over_time, spark_histogram, spread_over_time, step_chart
from evtfw.observe.histogram import DurationHistogram
from evtfw.observe.html_parts import Html, bar, details, legend, stacked_bar, table
from evtfw.observe.replies import TIME_PARTS, ReplyTiming, ServerTiming
from evtfw.observe.report import JobRecord
from evtfw.observe.summary_devices import lateness
from evtfw.observe.timing import ModuleTiming, Timing
from evtfw.observe.units import count, duration, ratio

_TRANSITIONS_SHOWN = 12
_FEWEST_SAMPLES = 4
_PART_STYLES = {"serialise": "cyan", "network": "warn", "queue": "violet2", "compute": "external", "held": "good"}
_ELSEWHERE_STYLE = "plain"


def over_time_part(record: JobRecord) -> list[Html]:
    """Throughput, busy threads, requests in flight and memory over time; nothing for a very short job."""
    timing, end_s = record.timing, record.result.wall_s
    if timing is None or len(timing.timeline) < _FEWEST_SAMPLES:
        return []
    line = timing.timeline
    end_s = max(end_s, float(line["time_s"][-1]))
    charts = [_plot("Throughput", *spread_over_time(line["time_s"], line["events_ended"], end_s), "events/s", "accent")]
    if record.info.threads > 1:
        charts.append(
            _plot("Busy threads", *mean_over_time(line["time_s"], line["busy_threads"], end_s), "threads", "good")
        )
    for column in line.columns:
        label = column.removeprefix("external:")
        if label != column:
            values = mean_over_time(line["time_s"], line[column], end_s)
            charts.append(_plot(f"In flight: {label}", *values, "requests", "external"))
    if record.memory is not None and len(record.memory.series) >= _FEWEST_SAMPLES:
        series = record.memory.series
        edges, sizes = mean_over_time(series["time_s"], series["resident_bytes"], end_s)
        charts.append(_plot("Resident memory", edges, sizes / 1e6, "MB", "warn"))
    return [Html(f'<div class="grid">{"".join(charts)}</div>')]


def _plot(title: str, edges: Any, values: Any, unit: str, style: str) -> Html:
    drawing = step_chart(edges, values, title=title, unit=unit, style=style)
    return Html(f"<figure><figcaption>{escape(title)}</figcaption>{drawing}</figure>")


def modules_part(timing: Timing) -> Html:
    """The table of modules."""
    total_ns = max(1, timing.module_wall_ns)
    called = [module.step.wall for module in timing.modules if module.step.wall.count]
    low = min((wall.min_ns for wall in called), default=1) or 1
    high = max((wall.max_ns for wall in called), default=1)
    rows = [_module_row(module, total_ns, low, high) for module in timing.modules]
    columns = ("Module", "Time in it", "Distribution", "Calls", "Wall", "CPU", "Mean", "p50", "p99", "Max")
    span = (
        f"Distributions of single calls on a logarithmic axis from {duration(low * 1e-9)} to {duration(high * 1e-9)}; "
        "of events that were given to a module together, each counts its share."
    )
    return Html(
        f'{table(columns, rows, left=3)}<p class="note">{escape(span)} CPU is scaled up from sampled calls.</p>'
    )


def _module_row(module: ModuleTiming, total_ns: int, low: int, high: int) -> tuple[object, ...]:
    wall = module.step.wall
    style = "external" if module.replies is not None else "accent"
    name = Html(f'<b>{escape(module.label)}</b> <span class="soft">{escape(module.type)}</span>')
    edges, counts = wall.coarse()
    spark = Html(spark_histogram(edges * 1e-9, counts, low * 1e-9, high * 1.2e-9))
    cpu = duration(module.cpu_ns * 1e-9 if module.cpu_ns is not None else None)
    return (
        name, bar(module.wall_ns / total_ns, style), spark, count(module.calls), duration(module.wall_ns * 1e-9), cpu,
        *_spread(wall),
    )  # fmt: skip


def _spread(wall: DurationHistogram) -> tuple[str, ...]:
    if not wall.count:
        return ("-",) * 4
    return tuple(
        duration(ns * 1e-9) for ns in (wall.mean_ns, wall.quantile_ns(0.5), wall.quantile_ns(0.99), wall.max_ns)
    )


def external_part(record: JobRecord, timing: Timing) -> list[Html]:
    """Latency and figures of each external-work module."""
    return [_external_module(module, record.result.wall_s) for module in timing.modules if module.replies is not None]


def _external_module(module: ModuleTiming, wall_s: float) -> Html:
    replies = module.replies
    if replies is None:
        return Html()
    wait = replies.wait
    p50, p99 = wait.quantile_ns(0.5) * 1e-9, wait.quantile_ns(0.99) * 1e-9
    edges, counts = wait.coarse(8)
    drawing = histogram_chart(edges * 1e-9, counts, [("p50", p50), ("p99", p99)], title=f"Latency of {module.label}")
    facts = [
        ("Requests", count(wait.count)),
        ("Failed", " ".join(f"{count(n)} {name}" for name, n in replies.failed.items()) or "0"),
        ("Served by", ", ".join(f"{name} ({count(n)})" for name, n in replies.served.items()) or "-"),
        ("In flight, mean", f"{wait.total_ns * 1e-9 / max(wall_s, 1e-9):.1f}"),
        ("Acquire, mean", duration(module.acquire.wall.mean_ns * 1e-9 if module.acquire else None)),
        ("Wait p50 · p99 · max", f"{duration(p50)} · {duration(p99)} · {duration(wait.max_ns * 1e-9)}"),
        ("Produce, mean", duration(module.step.wall.mean_ns * 1e-9)),
        *((f"{name.capitalize()}, mean", duration(ns * 1e-9)) for name, ns in replies.mean_parts_ns.items()),
    ]
    if replies.mean_batch_rows is not None:
        facts.append(("Rows in a batch", f"{replies.mean_batch_rows:.1f}"))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return Html(
        f'<h3>{escape(module.label)} <span class="soft">{escape(module.type)}</span></h3>'
        f'<div class="split"><figure>{drawing}</figure><dl>{listed}</dl></div>'
        f"{_servers(replies)}{_devices(module.label, replies)}"
    )


def _devices(label: str, replies: ReplyTiming) -> Html:
    """What emulated devices would have taken, beside what it took here."""
    if not replies.devices:
        return Html()
    rows = [
        (
            device.name or "unnamed", count(device.replies), duration(device.mean_device_ns * 1e-9),
            duration(device.mean_queue_ns * 1e-9), duration(device.mean_wait_ns * 1e-9), ratio(device.slowdown),
            count(device.late),
        )
        for device in replies.devices
    ]  # fmt: skip
    columns = (
        "Emulated device", "Replies", "Device time, modelled", "Queue there, modelled", "Wait here", "Here : there",
        "Late",
    )  # fmt: skip
    notes = [lateness(label, device) for device in replies.devices if device.late]
    note = "Modelled times are those of the device, not of this computer; means of a reply."
    return Html(f'{table(columns, rows, left=1)}<p class="note">{escape("; ".join([note, *notes]))}</p>')


def _servers(replies: ReplyTiming) -> Html:
    """Who answered, and where the time of their replies went, on a common scale."""
    if not any(server.mean_parts_ns for server in replies.servers):
        return Html()
    longest_ns = max(server.mean_wait_ns for server in replies.servers) or 1.0
    shown = [name for name in TIME_PARTS if any(name in server.mean_parts_ns for server in replies.servers)]
    rows = [_server_row(server, shown, longest_ns) for server in replies.servers]
    columns = ("Server", "Mean wait", "Replies", "Mean", *(name.capitalize() for name in shown), "Elsewhere", "Rows")
    names = [(name.capitalize(), _PART_STYLES[name]) for name in shown] + [("Elsewhere", _ELSEWHERE_STYLE)]
    held = " Held: computed, and kept back until the emulated device would have answered." if "held" in shown else ""
    note = (
        "Network: on the way, and in a server that does not tell its own times (tritonserver does not). "
        "Elsewhere: waiting to be packed, or for this computer's threads." + held
    )
    return Html(f'{table(columns, rows, left=2)}{legend(names)}<p class="note">{note}</p>')


def _server_row(server: ServerTiming, shown: list[str], longest_ns: float) -> tuple[object, ...]:
    parts_ns = [server.mean_parts_ns.get(name, 0.0) for name in shown]
    elsewhere_ns = max(0.0, server.mean_wait_ns - sum(parts_ns))
    styles = [*(_PART_STYLES[name] for name in shown), _ELSEWHERE_STYLE]
    shares = [ns / longest_ns for ns in (*parts_ns, elsewhere_ns)]
    return (
        server.name, stacked_bar(list(zip(shares, styles, strict=True))), count(server.replies),
        *(duration(ns * 1e-9) for ns in (server.mean_wait_ns, *parts_ns, elsewhere_ns)),
        f"{server.mean_batch_rows:.1f}" if server.mean_batch_rows is not None else "-",
    )  # fmt: skip


def transitions_part(timing: Timing) -> Html:
    """The longest transitions."""
    longest = sorted(timing.transitions.items(), key=lambda item: -item[1][1])[:_TRANSITIONS_SHOWN]
    rows = [
        (name, label, count(number), duration(total_ns * 1e-9), duration(total_ns * 1e-9 / number))
        for (name, label), (number, total_ns) in longest
    ]
    return details("The longest transitions", table(("Transition", "Module", "Calls", "Wall", "Mean"), rows, left=2))
