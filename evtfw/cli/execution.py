"""One run of a job with everything around it: observers, signals, summary, report."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from evtfw.cli.session import Session, exit_code_of
from evtfw.cli.signals import JobSignals
from evtfw.core.dump import dump
from evtfw.core.errors import ConfigurationError, ExitCode, OutputError
from evtfw.core.job import Job, JobResult
from evtfw.core.loading import Configuration
from evtfw.core.observer import Observer
from evtfw.observe.memory import MemoryObserver
from evtfw.observe.progress import ProgressObserver
from evtfw.observe.report import JobRecord, write_report
from evtfw.observe.summary import TimingSummary
from evtfw.observe.timing import Timing, TimingObserver
from evtfw.observe.trace import TraceObserver


class Execution:
    """Runs a configuration's job once.

    Args:
        session: where to write.
        configuration: whose process is run.
        quiet: show only warnings and errors.
        progress: show how far the job is.
        no_timing: do not time modules.
        report: folder of the job report.
        trace: file of the trace.
    """

    def __init__(
        self,
        session: Session,
        configuration: Configuration,
        *,
        quiet: bool = False,
        progress: bool = True,
        no_timing: bool = False,
        report: Path | None = None,
        trace: Path | None = None,
    ) -> None:
        self._session = session
        self._configuration = configuration
        self._quiet = quiet
        self._report = report
        self._timing = None if no_timing else TimingObserver()
        self._memory = None if report is None else MemoryObserver()
        self._progress = ProgressObserver(session.err, quiet=quiet or not progress)
        self._trace = trace

    def run(self) -> int:
        """Run the job, show the summary, write report and trace, and return the exit code.

        Raises:
            ConfigurationError: with all that is wrong, before any event.
            InputError: if the source cannot be opened.
            OutputError: if report or trace cannot be written; before the job as far as that can be known.
        """
        if self._report is not None:
            _make_folder(self._report)
        job = Job(self._configuration.process, self._observers(), say=self._say)
        with JobSignals(job), self._progress:
            result = job.run()
        timing = None if self._timing is None else self._timing.timing()
        self._show(job, result, timing)
        code = self._write_report(job, result, timing)
        return result.exit_code or code

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._session.say(line)

    def _observers(self) -> list[Observer]:
        trace = None if self._trace is None else TraceObserver(self._trace)
        candidates: list[Observer | None] = [self._timing, self._memory, self._progress, trace]
        return [observer for observer in candidates if observer is not None]

    def _show(self, job: Job, result: JobResult, timing: Timing | None) -> None:
        if not self._quiet:
            with contextlib.suppress(
                SystemExit
            ):  # so rich ends a program whose reader has gone; the job has its own end
                TimingSummary(job.info, result, timing).print(self._session.out)
        if result.error is not None:
            self._session.show_error(result.error)

    def _write_report(self, job: Job, result: JobResult, timing: Timing | None) -> int:
        if self._report is None or self._memory is None:
            return ExitCode.OK
        process = self._configuration.process
        command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        memory = self._memory.memory()
        record = JobRecord(job.info, result, timing, memory, self._expanded(), process.options.model_dump(), command)
        try:
            page = write_report(self._report, record)
        except OutputError as error:
            self._session.show_error(error)
            return exit_code_of(error)
        self._say(f"report: {page}")
        return ExitCode.OK

    def _expanded(self) -> str:
        """The configuration for the report; as it was written, if it has values that cannot be."""
        try:
            return dump(self._configuration.process)
        except ConfigurationError:
            return "\n".join(self._configuration.sources.values())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder} for the report: {error.strerror}; choose another --report DIR"
        ) from error
