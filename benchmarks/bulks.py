"""Modules that take several events at once: CPU of the jet modules one by one, and in bulks of several sizes."""

from __future__ import annotations

from functools import partial

from benchmarks.measure import Options, Report, interleaved, ratios, run_job
from benchmarks.toptag_runs import input_files
from evtfw import Path, Process
from evtfw.io.root_source import RootSource
from evtfw.modules import JetConstituents, JetImages, JetSelector, SoftDrop
from evtfw.observe.timing import TimingObserver

SIZES = (1, 4, 16, 64, 0)
"""Events in a bulk; 0: chosen by the job."""
ROUNDS = 5


def measure(options: Options) -> Report:
    report = Report("jets, their constituents, soft drop and images: several events at once, one thread")
    with input_files(options.files) as files:
        limit = options.events(1000)
        runs = interleaved(
            {str(size): partial(_cpu_us, files, limit, size) for size in SIZES}, options.rounds or ROUNDS
        )
    for size in SIZES:
        group = "chosen by the job" if size == 0 else f"{size} at once"
        for label in runs[str(size)][0]:
            report.add(group, label, [found[label] for found in runs[str(size)]], "µs/event")
    alone, chosen = ([found["all"] for found in runs[size]] for size in ("1", "0"))
    report.add("chosen by the job", "all : one by one", ratios(chosen, alone), "")
    report.note("CPU in the modules. No network runs beside, which would make cold caches and the gain larger.")
    return report


def _cpu_us(files: list[str], limit: int, size: int) -> dict[str, float]:
    process = Process("BULKS")
    process.source = RootSource(files=files)
    process.jets = JetSelector(pt_min_gev=550.0, pt_max_gev=650.0, abs_eta_max=2.0)
    process.constituents = JetConstituents()
    process.softdrop = SoftDrop()
    process.images = JetImages()
    process.path = Path(process.jets, process.softdrop, process.images)
    process.set_options(bulk_events=size, max_events=limit)
    observer = TimingObserver()
    events = run_job(process, observer).events_read
    found = {module.label: (module.cpu_ns or 0.0) * 1e-3 / events for module in observer.timing().modules}
    return {**found, "all": sum(found.values())}
