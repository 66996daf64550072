"""What follows from the measured times: rates, occupancy, overhead, and what the job waited for."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from evtfw.core.job import JobResult
from evtfw.core.observer import JobInfo
from evtfw.observe.timing import Timing
from evtfw.observe.units import duration, percent

ShareKind = Literal["modules", "framework", "start", "waiting", "idle"]
_BUSY = 0.8  # of the threads' time, from which on a job counts as bound by the CPU


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """A part of the threads' time.

    Args:
        name: ``modules``, ``framework``, ``start-up``, ``source``, ``output``, ``idle``, or an external module's label.
    """

    name: str
    kind: ShareKind
    fraction: float


@dataclasses.dataclass(frozen=True, slots=True)
class JobFigures:
    """Derived figures of a job; None where the job did not measure what is needed.

    Args:
        threads: threads that took part.
        occupancy: fraction of their time in which they had something to run.
        cores: CPU time over wall time, of the whole process.
        overhead_us: CPU time of the framework per module call, in µs (wall time where the system tells no CPU time).
        shares: parts of the threads' time; they add up to 1.
        verdict: one sentence on what limits the job.
    """

    events_per_s: float
    threads: int
    occupancy: float | None
    cores: float
    overhead_us: float | None
    start_s: float | None
    shares: tuple[Share, ...]
    verdict: str


def job_figures(info: JobInfo, result: JobResult, timing: Timing | None) -> JobFigures:
    """Derive the figures from what was counted and measured."""
    wall_s = max(result.wall_s, 1e-9)
    threads = max(1, round(result.statistics.get("active_threads", info.threads)))
    busy_s = result.statistics.get("busy_s")
    occupancy = min(1.0, busy_s / (threads * wall_s)) if busy_s is not None else None
    shares = _shares(result, timing, threads)
    return JobFigures(
        events_per_s=(result.events_read - result.fates.get("unprocessed", 0)) / wall_s,
        threads=threads,
        occupancy=occupancy,
        cores=result.cpu_s / wall_s,
        overhead_us=_overhead_us(result, timing),
        start_s=result.statistics.get("start_s"),
        shares=shares,
        verdict=_verdict(result, timing, occupancy, shares),
    )


def _overhead_us(result: JobResult, timing: Timing | None) -> float | None:
    """The workers' CPU time outside modules, per module call: waiting for the interpreter lock is nobody's work."""
    if timing is None or not timing.module_calls:
        return None
    workers_s, modules_ns = result.statistics.get("workers_cpu_s"), timing.module_cpu_ns
    if workers_s is None or modules_ns is None:
        workers_s, modules_ns = result.statistics.get("busy_s"), timing.module_wall_ns
    return None if workers_s is None else max(0.0, workers_s - modules_ns * 1e-9) / timing.module_calls * 1e6


def _shares(result: JobResult, timing: Timing | None, threads: int) -> tuple[Share, ...]:
    """Split the threads' time. Idle time is split over what streams waited for, by how long they did."""
    statistics = result.statistics
    busy_s = statistics.get("busy_s")
    if busy_s is None or result.wall_s <= 0:
        return ()
    all_s = max(threads * result.wall_s, busy_s)
    modules_s = min(busy_s, timing.module_wall_ns * 1e-9) if timing else 0.0
    start_s = min(all_s - busy_s, statistics.get("start_s", 0.0) * threads)
    idle_s = all_s - busy_s - start_s
    waits = {"source": statistics.get("source_wait_s", 0.0), "output": statistics.get("output_wait_s", 0.0)}
    for module in timing.modules if timing else ():
        if module.replies is not None:
            waits[module.label] = module.replies.wait.total_ns * 1e-9
    waited_s = sum(waits.values())
    parts = [
        Share("modules", "modules", modules_s / all_s),
        Share("framework" if timing else "modules and framework", "framework", (busy_s - modules_s) / all_s),
        Share("start-up", "start", start_s / all_s),
        *(Share(name, "waiting", idle_s / all_s * (wait_s / waited_s)) for name, wait_s in waits.items() if wait_s > 0),
        Share("idle", "idle", 0.0 if waited_s > 0 else idle_s / all_s),
    ]
    return tuple(part for part in parts if part.fraction > 0)


def _verdict(result: JobResult, timing: Timing | None, occupancy: float | None, shares: tuple[Share, ...]) -> str:
    if not result.events_read:
        return "The job processed no event."
    if result.statistics.get("gil_bound"):
        return (
            "Bound by the interpreter lock: more threads do not help. Several processes, modules that release the "
            "lock, or a free-threaded Python would."
        )
    if occupancy is None:
        return ""
    waiting = max((share for share in shares if share.kind == "waiting"), key=lambda s: s.fraction, default=None)
    start = next((share.fraction for share in shares if share.kind == "start"), 0.0)
    if start > 0.5:
        return f"Start-up took {percent(start)} of the time: the job is short."
    if occupancy >= _BUSY * (1 - start) or waiting is None or waiting.fraction < 0.1:
        return _busy_verdict(timing, occupancy)
    all_cpu_s = result.wall_s * result.statistics.get("cores", math.inf)
    if waiting.name not in ("source", "output") and result.cpu_s >= _BUSY * all_cpu_s:
        return f"All cores were busy, mostly with the work of '{waiting.name}' on this machine."
    return _waiting_verdict(waiting, timing)


def _busy_verdict(timing: Timing | None, occupancy: float) -> str:
    sentence = f"The threads were busy {percent(occupancy)} of the time"
    if timing is None or not timing.module_wall_ns:
        return sentence + "."
    slowest = max(timing.modules, key=lambda module: module.wall_ns)
    return f"{sentence}, most of it in '{slowest.label}' ({percent(slowest.wall_ns / timing.module_wall_ns)})."


def _waiting_verdict(waiting: Share, timing: Timing | None) -> str:
    share = f"{percent(waiting.fraction)} of the threads' time"
    if waiting.name == "source":
        return f"Waited for the input for {share}: the source is the bottleneck."
    if waiting.name == "output":
        return f"Waited for the output for {share}: a faster disk or less compression would help."
    replies = next((m.replies for m in timing.modules if m.label == waiting.name), None) if timing else None
    typical = f" (p50 {duration(replies.wait.quantile_ns(0.5) * 1e-9)})" if replies else ""
    return f"Waited for replies to '{waiting.name}'{typical} for {share}: more streams or a faster service would help."
