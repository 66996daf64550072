"""A made-up job that feeds observers as the scheduler does: for tests, and to look at summaries and reports.

The job is the top-tagging chain with events of random durations on a virtual clock. `main` renders it::

    python -m tests.observe.synthetic FOLDER
"""

import dataclasses
import random
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
from rich.console import Console

from evtfw.core.errors import DeadlineExceeded, ExitCode, ModuleError
from evtfw.core.event import EventId
from evtfw.core.job import FileRange, JobResult, PathCount
from evtfw.core.observer import Activity, Failure, JobInfo, NodeInfo
from evtfw.core.source import SkippedRange
from evtfw.observe.memory import MemoryObserver
from evtfw.observe.report import JobRecord, write_report
from evtfw.observe.summary import TimingSummary
from evtfw.observe.timing import TimingObserver

START_NS = 5_000_000_000
TICK_NS = 100_000_000


def chain_info(segment_sizes=(10,), streams=1, threads=1):
    """Plain producers in a chain, cut into segments."""
    nodes, segments = [], []
    for number, size in enumerate(segment_sizes):
        first = len(nodes)
        for position in range(size):
            index = first + position
            needs = (index - 1,) if index else ()
            nodes.append(NodeInfo(index, f"m{index}", "Maker", "producer", "event", number, position, needs))
        segments.append(tuple(range(first, first + size)))
    return JobInfo("CHAIN", tuple(nodes), tuple(segments), {}, threads, streams, None, START_NS)


_TOPTAG = [  # label, type, kind, phase, segment, needs
    ("source", "RootSource", "source", "source", 0, ()),
    ("jets", "JetSelector", "producer", "event", 0, (0,)),
    ("images", "JetImages", "producer", "event", 0, (0, 1)),
    ("toptag", "TopTagger", "external", "acquire", 0, (2,)),
    ("softdrop", "SoftDrop", "producer", "event", 1, (0, 1)),
    ("toptag", "TopTagger", "external", "produce", 2, (3,)),
    ("tagged", "ScoreFilter", "filter", "event", 2, (5,)),
    ("histograms", "JetHistograms", "analyzer", "event", 2, (1, 4, 5, 6)),
    ("pileup", "PileupTagger", "external", "acquire", 0, (0,)),
    ("pileup", "PileupTagger", "external", "produce", 3, (8,)),
    ("clean", "ScoreFilter", "filter", "event", 3, (9, 5)),
    ("TriggerResults", "TriggerResults", "framework", "results", 4, (6, 10)),
    ("out", "RootOutput", "output", "event", 4, (11, 1, 4, 5)),
]


def toptag_info(threads=4, streams=8, events=None):
    """The plan of a job like ``configs/toptag.py``, with a second external module."""
    members = {}
    nodes = []
    for index, (label, kind_name, kind, phase, segment, needs) in enumerate(_TOPTAG):
        inside = members.setdefault(segment, [])
        nodes.append(NodeInfo(index, label, kind_name, kind, phase, segment, len(inside), needs))
        inside.append(index)
    segments = tuple(tuple(members[number]) for number in range(len(members)))
    paths = {
        "tag": ("jets", "images", "softdrop", "toptag", "tagged", "histograms"),
        "cleaning": ("pileup", "clean"),
        "end": ("out",),
    }
    return JobInfo("TOPTAG", tuple(nodes), segments, paths, threads, streams, events, START_NS)


_TYPICAL_NS = {"source": 2e3, "jets": 9e4, "images": 2.1e5, "softdrop": 4.6e5, "histograms": 4e4, "out": 2.5e4}
_WAIT_NS = {"toptag": 6e6, "pileup": 1.1e6}


@dataclasses.dataclass(frozen=True)
class SimpleProvenance:
    backend: str
    server: str = ""
    fallback_reason: str = ""


@dataclasses.dataclass
class _Stream:
    number: int
    time_ns: int


class Feeder:
    """Plays a job to observers and makes its result.

    Args:
        events: number of events.
        failure_rate: fraction of events in which a module fails.
        stop_after: the job stops with an error after so many events.
    """

    def __init__(self, observers, info=None, *, events=1000, seed=1, failure_rate=0.0, stop_after=None):
        self.info = info or toptag_info(events=events)
        self.observers, self.events, self.stop_after = observers, events, stop_after
        self.random = random.Random(seed)
        self.failure_rate = failure_rate
        self.fates, self.failures = Counter(), []
        self.paths = {name: Counter() for name in self.info.paths}
        self.busy_ns = 0
        self.calls, self.ended_at, self.spans = [], [], []
        self.waits = {node.label: [] for node in self.info.nodes if node.phase == "produce"}

    def tell(self, time_ns, method, *arguments):
        """Note a call; observers get them in the order of time, as from the streams of a real job."""
        self.calls.append((time_ns, len(self.calls), method, arguments))

    def run(self):
        self._transitions("begin_job")
        streams = [_Stream(n, START_NS + 400_000_000) for n in range(self.info.streams)]
        for number in range(self.events if self.stop_after is None else self.stop_after):
            stream = min(streams, key=lambda s: s.time_ns)
            self._event(stream, EventId(1, 1 + number // 500, number + 1))
        end_ns = max(s.time_ns for s in streams)
        self._ticks(end_ns)
        result = self._result((end_ns - START_NS) * 1e-9)
        for observer in self.observers:
            observer.begin_job(self.info)
            for _, _, method, arguments in sorted(self.calls, key=lambda call: call[:2]):
                getattr(observer, method)(*arguments)
            observer.end_job(result)
        return result

    def _transitions(self, name):
        time_ns = START_NS
        for label in dict.fromkeys(node.label for node in self.info.nodes):
            took = 300_000_000 if label == "toptag" else 2_000_000
            self.tell(time_ns + took, "transition", name, label, "", None, time_ns, time_ns + took)
            time_ns += took

    def _ticks(self, end_ns):
        ended, busy = np.sort(self.ended_at), np.array(self.spans)
        for time_ns in range(START_NS, end_ns + TICK_NS, TICK_NS):
            done = int(np.searchsorted(ended, time_ns))
            waiting = {label: sum(a <= time_ns < b for a, b in waits) for label, waits in self.waits.items()}
            threads = int(((busy[:, 0] <= time_ns) & (time_ns < busy[:, 1])).sum()) if len(busy) else 0
            activity = Activity(
                time_ns, min(self.events, done + self.info.streams), done, dict(self.fates), threads, waiting, 0
            )
            self.tell(time_ns, "tick", activity)

    def _reply(self, label):
        provenance = SimpleProvenance(f"cpu:{label}")
        return SimpleNamespace(
            provenance=provenance,
            times=SimpleNamespace(
                serialise_ns=0,
                network_ns=0,
                queue_ns=800_000,
                compute_ns=4_000_000,
                batch_rows=self.random.randint(1, 9),
            ),
        )

    def _duration(self, label):
        return max(1, int(self.random.lognormvariate(0, 0.45) * _TYPICAL_NS.get(label, 8e3)))

    def _stamps(self, stream, segment, failing):
        stamps = [stream.time_ns]
        for index in self.info.segments[segment]:
            stamps.append(stamps[-1] + self._duration(self.info.nodes[index].label))
            if index == failing:
                break
        self.spans.append((stamps[0], stamps[-1]))
        self.busy_ns += stamps[-1] - stamps[0] + 300 * len(stamps)
        stream.time_ns = stamps[-1] + 2_000
        return stamps

    def _event(self, stream, event):
        self.tell(stream.time_ns, "event_started", stream.number, event, stream.time_ns)
        stream.time_ns += 1_000
        failing = None
        if self.random.random() < self.failure_rate:
            failing = self.random.choice([n.index for n in self.info.nodes if n.phase in ("event", "produce")])
        submitted, failed = {}, None
        for segment, indices in enumerate(self.info.segments):
            for index in indices:
                node = self.info.nodes[index]
                if node.phase == "produce" and node.label in submitted:
                    wait = int(self.random.gammavariate(3, _WAIT_NS.get(node.label, 1e6) / 3))
                    replied = submitted[node.label] + wait
                    self.waits[node.label].append((submitted[node.label], replied))
                    bad = index == failing
                    reply = (
                        DeadlineExceeded("no reply after 30 ms from 'cpu:toptag'") if bad else self._reply(node.label)
                    )
                    self.tell(stream.time_ns, "replied", stream.number, index, submitted[node.label], replied, reply)
                    stream.time_ns = max(stream.time_ns, replied) + 3_000
            if self.random.random() < 1 / 16:
                self._sampled(stream, segment)
                stamps = None
            else:
                stamps = self._stamps(stream, segment, failing)
                self.tell(stream.time_ns, "segment_ran", stream.number, segment, stamps)
            for index in indices:
                if self.info.nodes[index].phase == "acquire":
                    submitted[self.info.nodes[index].label] = stream.time_ns - 2_000
            if stamps is not None and failing in indices:
                failed = self._fail(stream, self.info.nodes[failing], event)
                break
        fate = self._fate(failed)
        self.fates[fate] += 1
        self.ended_at.append(stream.time_ns)
        self.tell(stream.time_ns, "event_ended", stream.number, event, stream.time_ns, fate)
        stream.time_ns += 1_000

    def _sampled(self, stream, segment):
        stamps = self._stamps(stream, segment, None)
        cpu = [int((s - stamps[0]) * 0.93) for s in stamps]
        self.tell(stream.time_ns, "cpu_sampled", stream.number, segment, stamps, cpu)

    def _fail(self, stream, node, event):
        error = ModuleError(
            f"module '{node.label}' ({node.type}) failed in produce of event {event}: "
            "ValueError: operands could not be broadcast together with shapes (3,) (4,)"
        )
        if node.phase == "produce":
            error = DeadlineExceeded(f"module '{node.label}': no reply after 30 ms from 'cpu:toptag' (event {event})")
        else:
            error.__cause__ = ValueError("operands could not be broadcast together with shapes (3,) (4,)")
        failure = Failure(node.label, node.phase, event, error, "continue")
        self.failures.append(failure)
        self.tell(stream.time_ns, "failed", stream.number, failure)
        return failure

    def _fate(self, failed):
        outcome = "failed" if failed else ("accepted" if self.random.random() < 0.3 else "rejected")
        for name in self.paths:
            self.paths[name]["accepted" if name == "end" and not failed else outcome] += 1
        return {"failed": "failed", "accepted": "written", "rejected": "filtered"}[outcome]

    def _result(self, wall_s):
        read = sum(self.fates.values())
        stopped = self.stop_after is not None
        statistics = {
            "busy_s": self.busy_ns * 1e-9,
            "source_wait_s": 0.04 * wall_s,
            "output_wait_s": 0.01 * wall_s,
            "active_threads": float(self.info.threads),
            "gil_bound": 0.0,
            "start_s": 0.4,
        }
        return JobResult(
            exit_code=ExitCode.MODULE if stopped else ExitCode.OK,
            error=self.failures[-1].error if stopped and self.failures else None,
            stopped_by=None,
            events_read=read,
            events_deselected=12,
            fates={
                name: self.fates.get(name, 0) for name in ("written", "passed", "filtered", "failed", "unprocessed")
            },
            failures=self.failures[:20],
            failures_count=len(self.failures),
            paths={name: PathCount(c["accepted"], c["rejected"], c["failed"]) for name, c in self.paths.items()},
            files=[
                FileRange("/data/top_seed11.root", 0, read // 2),
                FileRange("/data/qcd_seed11.root", 0, read - read // 2),
            ],
            skipped=[SkippedRange("/data/broken.root", 100, 200, "basket 3 of Jet_pt is corrupt")],
            refused_completions=0,
            wall_s=wall_s,
            cpu_s=self.busy_ns * 0.9e-9,
            accumulators={},
            statistics=statistics,
        )


CONFIGURATION = """from evtfw import EndPath, Path, Process
from evtfw.io.root_source import RootSource

process = Process("TOPTAG")
process.source = RootSource(files=["top_seed11.root", "qcd_seed11.root"])
"""


def record(events=3000, **settings):
    """A made-up job and what the observers of the report saw of it."""
    timing, memory = TimingObserver(), MemoryObserver()
    feeder = Feeder([timing, memory], events=events, **settings)
    result = feeder.run()
    return JobRecord(
        info=feeder.info,
        result=result,
        timing=timing.timing(),
        memory=memory.memory(),
        configuration=CONFIGURATION,
        options={"threads": 4, "streams": 8, "on_error": "continue"},
        command=["evtfw", "run", "configs/toptag.py", "--threads", "4", "--streams", "8"],
    )


def main():
    """Write the report of a made-up job into the folder given, and print its summary."""
    made = record(failure_rate=0.004)
    TimingSummary(made.info, made.result, made.timing).print(Console())
    write_report(sys.argv[1], made)


if __name__ == "__main__":
    main()
