"""Tells how far a job is: a live line on a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import atexit
import sys
from collections import deque
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evtfw.core.observer import Activity, JobInfo, Observer
from evtfw.observe.units import count, duration, percent, rate

_RATE_WINDOW_NS = 10_000_000_000
_STEPS = 10  # lines per job, if it is a long one
_FIRST_INTERVAL_NS = 10_000_000_000
_SHORTEST_INTERVAL_NS = 2_000_000_000
_LONGEST_INTERVAL_NS = 600_000_000_000
_INTERVAL_GROWTH = 1.5


class _Pace:
    """Events per second over the last seconds, and the time left."""

    def __init__(self, job: JobInfo) -> None:
        self._expected = job.events_expected
        self._samples: deque[tuple[int, int]] = deque([(job.start_ns, 0)])

    def update(self, activity: Activity) -> None:
        samples = self._samples
        samples.append((activity.time_ns, activity.events_ended))
        while len(samples) > 2 and activity.time_ns - samples[1][0] >= _RATE_WINDOW_NS:
            samples.popleft()

    @property
    def per_s(self) -> float:
        (start_ns, first), (end_ns, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end_ns - start_ns) * 1e9 if end_ns > start_ns else 0.0

    @property
    def left_s(self) -> float | None:
        if self._expected is None or self.per_s <= 0:
            return None
        return max(0, self._expected - self._samples[-1][1]) / self.per_s


class ProgressObserver(Observer):
    """Shows progress at ticks; it costs nothing per event.

    On a terminal one line is redrawn in place and disappears at the end of the job; what others print meanwhile
    appears above it. The cursor is never hidden, so that a job that is killed leaves the terminal as it was. Elsewhere
    a line is printed every tenth of the job, or after a time that grows from 10 s to 10 min, so that logs stay short.

    Args:
        console: where to show it; standard error by default.
        quiet: show nothing.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console if console is not None else Console(stderr=True)
        self._quiet = quiet
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_job(self, job: JobInfo) -> None:
        """See `Observer.begin_job`."""
        if self._quiet:
            return
        self._job = job
        self._pace = _Pace(job)
        self._last_line_ns = job.start_ns
        self._interval_ns = float(_FIRST_INTERVAL_NS)
        self._step = 0
        if self._console.is_terminal:
            self._start_live()
        else:
            events = f"{count(job.events_expected)} events" if job.events_expected is not None else "events"
            self._print(f"{job.process}: processing {events} with {job.threads} threads and {job.streams} streams")

    def tick(self, activity: Activity) -> None:
        """See `Observer.tick`."""
        if self._quiet:
            return
        self._pace.update(activity)
        if self._live is not None:
            self._live.update(self._line(activity), refresh=True)
        elif not self._console.is_terminal and self._is_due(activity):
            self._print(f"{self._job.process}: {self._position(activity)}, {', '.join(self._details(activity))}")

    def end_job(self, result: Any) -> None:
        """See `Observer.end_job`."""
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; harmless if done already."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
            atexit.unregister(self.close)

    def _start_live(self) -> None:
        # Standard output may be a pipe while this is on standard error: only a terminal may be taken over.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()
        self._console.show_cursor(True)
        atexit.register(self.close)

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _is_due(self, activity: Activity) -> bool:
        waited_ns = activity.time_ns - self._last_line_ns
        expected = self._job.events_expected
        step = activity.events_ended * _STEPS // expected if expected else 0
        if waited_ns >= self._interval_ns:
            self._interval_ns = min(self._interval_ns * _INTERVAL_GROWTH, _LONGEST_INTERVAL_NS)
        elif step <= self._step or waited_ns < _SHORTEST_INTERVAL_NS:
            return False
        self._last_line_ns, self._step = activity.time_ns, step
        return True

    def _position(self, activity: Activity) -> str:
        expected = self._job.events_expected
        if not expected:
            return f"{count(activity.events_ended)} events"
        return (
            f"{count(activity.events_ended)} of {count(expected)} events ({percent(activity.events_ended / expected)})"
        )

    def _details(self, activity: Activity) -> list[str]:
        details = [f"{rate(self._pace.per_s)} events/s"]
        if self._pace.left_s:
            left_s = max(1, round(self._pace.left_s))
            details.append(f"{duration(left_s) if left_s >= 60 else f'{left_s} s'} left")
        waiting = [f"{label} {number}" for label, number in activity.waiting_external.items() if number]
        if waiting:
            details.append("in flight: " + " ".join(waiting))
        failed = activity.fates.get("failed", 0)
        if failed:
            details.append(f"{count(failed)} failed")
        return details

    def _line(self, activity: Activity) -> Table:
        expected = self._job.events_expected
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1, min_width=8)
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(expected, min(activity.events_ended, expected or 0), pulse=expected is None)
        name = Text(self._job.process, style="bold")
        line.add_row(name, bar, self._position(activity), Text(" · ".join(self._details(activity)), style="cyan"))
        return line
