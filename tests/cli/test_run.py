"""``evtfw run`` through the real command: exit codes, arguments, output, signals."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from evtfw import ExitCode
from evtfw.cli.tuning import set_switch_interval, tune_allocator
from tests.conftest import evtfw_command

FAULTS = """
from evtfw import *
from evtfw.core.errors import InputError, OutputError, ServerUnavailable
from evtfw.io.empty_source import EmptySource

class Faulty(Producer):
    made = Output[float]("a number")
    def produce(self, event):
        {produce}

class Reader(Analyzer):
    made = Input[float]("a number")
    def analyze(self, event):
        event[self.made] + 1

class Service(ExternalWorkModule):
    made = Output[float]("a number")
    def acquire(self, event, done):
        {acquire}
    def produce(self, event, reply):
        event[self.made] = reply

class Writer(OutputModule):
    def write(self, event):
        {write}

process = Process("FAULTS")
process.source = EmptySource(events=20)
process.faulty = Faulty()
process.service = Service()
process.reader = Reader(made="faulty")
process.writer = Writer()
process.path = Path(process.faulty, process.service, process.reader)
process.end = EndPath(process.writer)
"""
FINE = {"produce": "event[self.made] = 1.0", "acquire": "done.resolve(1.0)", "write": "return True"}


def faults(folder, extra="", **bodies):
    file = folder / "faults.py"
    file.write_text(FAULTS.format(**{**FINE, **bodies}) + extra)
    return file


# Results


def test_a_job_runs_and_says_what_it_did(evtfw, job):
    done = evtfw("run", "job.py", "-t", "2", "-s", "2")
    assert done.returncode == 0
    assert "TINY" in done.stdout
    assert "10 passed + 20 filtered = 30 read" in done.stdout
    assert "maker" in done.stdout
    assert "TINY: processing 30 events with 2 threads and 2 streams" in done.stderr


def test_quiet_says_nothing(evtfw, job):
    done = evtfw("run", "job.py", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_progress_and_timing(evtfw, job):
    done = evtfw("run", "job.py", "--no-progress", "--no-timing")
    assert done.returncode == 0
    assert not done.stderr
    assert "30 read" in done.stdout


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["-n", "7"], "= 7 read"),
        (["--skip-events", "25"], "= 5 read"),
        (["--events", "1:1:3,1:1:5"], "= 2 read"),
        (["-n", "-1", "--", "--events", "4"], "= 4 read"),
    ],
)
def test_events_are_chosen(evtfw, job, words, read):
    done = evtfw("run", "job.py", *words)
    assert done.returncode == 0, done.stderr
    assert read in done.stdout


def test_help_on_arguments_of_the_configuration(evtfw, job):
    done = evtfw("run", "job.py", "--", "--help")
    assert done.returncode == 0
    assert "Arguments of the tiny job." in done.stdout
    assert "--events" in done.stdout


def test_a_wrong_argument_of_the_configuration(evtfw, job):
    done = evtfw("run", "job.py", "--", "--event", "3")
    assert done.returncode == ExitCode.CONFIGURATION
    assert "did you mean '--events'" in done.stderr


def test_a_trace_is_written(evtfw, job, tmp_path):
    assert evtfw("run", "job.py", "--trace", "trace.json").returncode == 0
    assert '"traceEvents"' in (tmp_path / "trace.json").read_text()


def test_a_report_is_written(evtfw, job, tmp_path):
    done = evtfw("run", "job.py", "--report", "new/report", "-t", "1")
    assert done.returncode == 0
    assert "report: new/report/report.html" in done.stderr
    report = json.loads((tmp_path / "new" / "report" / "report.json").read_text())
    assert report["exit_code"] == 0
    assert report["options"]["threads"] == 1
    assert report["command"][1:] == ["run", "job.py", "--report", "new/report", "-t", "1"]
    assert "process.maker = Maker(" in (tmp_path / "new" / "report" / "report.html").read_text()


def test_a_report_tells_how_a_job_failed(evtfw, tmp_path):
    done = evtfw("run", faults(tmp_path, produce="1 / 0"), "--report", "report", "--quiet")
    assert done.returncode == ExitCode.MODULE
    assert json.loads((tmp_path / "report" / "report.json").read_text())["exit_code"] == ExitCode.MODULE


@pytest.mark.parametrize("words", [("--report", "job.py/x"), ("--trace", "job.py/x/trace.json")])
def test_where_nothing_can_be_written_no_job_is_run(evtfw, job, words):
    done = evtfw("run", "job.py", *words)
    assert done.returncode == ExitCode.OUTPUT
    assert f"choose another {words[0]}" in done.stderr
    assert not done.stdout


def test_a_configuration_can_be_shipped_in_a_folder_of_its_own(evtfw, job, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    job.with_name("helper.py").write_text("EVENTS = 6\n")
    job.write_text(job.read_text() + "from helper import EVENTS\nprocess.options.max_events = EVENTS\n")
    done = evtfw("run", job, cwd=tmp_path / "elsewhere")
    assert "= 6 read" in done.stdout


def test_what_is_imported_late_comes_from_beside_the_configuration_too(evtfw, job):
    job.with_name("late.py").write_text("def twice(x):\n    return 2 * x\n")
    text = job.read_text().replace("event.index * self.scale", "__import__('late').twice(event.index)")
    job.write_text(text)
    assert evtfw("run", "job.py").returncode == 0


def test_progress_on_a_terminal(job):
    """A live line on the terminal that is gone at the end; the summary follows."""
    leader, follower = pty.openpty()
    command = [*evtfw_command(), "run", "job.py", "--", "--events", "100000"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR")
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, cwd=job.parent, env=environment)
    os.close(follower)
    out = done.stdout.read().decode()
    done.stdout.close()
    assert done.wait(timeout=60) == 0
    shown = os.read(leader, 1_000_000).decode()
    os.close(leader)
    assert "events/s" in shown
    assert "\x1b" not in out
    assert "100 000 events" in out


# Faults


@pytest.mark.parametrize(
    ("code", "words", "bodies"),
    [
        (ExitCode.OK, [], {}),
        (ExitCode.MODULE, ["ZeroDivisionError", "faulty", "1:1:"], {"produce": "1 / 0"}),
        (ExitCode.PRODUCT, ["faulty:made", "reader"], {"produce": "return"}),
        (ExitCode.EXTERNAL, ["service", "no server"], {"acquire": "done.fail(ServerUnavailable('no server'))"}),
        (ExitCode.EXTERNAL, ["service", "without resolving"], {"acquire": "return"}),
        (ExitCode.OUTPUT, ["disk full"], {"write": "raise OutputError('disk full')"}),
        (ExitCode.OUT_OF_MEMORY, ["MemoryError"], {"produce": "raise MemoryError"}),
    ],
    ids=lambda value: str(getattr(value, "name", "")) or None,
)
def test_each_kind_of_fault_has_its_exit_code(evtfw, tmp_path, code, words, bodies):
    done = evtfw("run", faults(tmp_path, **bodies))
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_input_file(evtfw, tmp_path):
    extra = "from evtfw.io.root_source import RootSource\nprocess.source = RootSource(files=['nothing.root'])\n"
    done = evtfw("run", faults(tmp_path, extra))
    assert done.returncode == ExitCode.INPUT
    assert "nothing.root" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration(evtfw, tmp_path):
    done = evtfw("run", faults(tmp_path, "process.reader.made = 'nobody'\n"))
    assert done.returncode == ExitCode.CONFIGURATION
    assert "nobody" in done.stderr


def test_a_request_that_is_never_answered_meets_its_deadline(evtfw, tmp_path):
    extra = "process.service.timeout_s = 0.05\nprocess.options.streams = 1\nkept = []\n"
    done = evtfw("run", faults(tmp_path, extra, acquire="kept.append(done)"))
    assert done.returncode == ExitCode.EXTERNAL
    assert "service" in done.stderr
    assert "0.05" in done.stderr


def test_debug_shows_the_traceback(evtfw, tmp_path):
    done = evtfw("run", faults(tmp_path, produce="1 / 0"), "--debug")
    assert done.returncode == ExitCode.MODULE
    assert "Traceback" in done.stderr
    assert "faults.py" in done.stderr


def test_continue_counts_failures_and_ends_well(evtfw, tmp_path):
    file = faults(
        tmp_path, "del process.end\ndel process.writer\n", produce="event[self.made] = 1.0 / (event.index % 2)"
    )
    done = evtfw("run", file, "--continue-on", "ZeroDivisionError")
    assert done.returncode == 0, done.stderr
    assert "10 failed" in done.stdout


# Signals: the module stops in the middle of an event and says so through named pipes, so nothing here depends on time.

BLOCKING = """
from evtfw import *
from evtfw.io.empty_source import EmptySource

class Blocking(Producer):
    made = Output[int]("the event's number")
    def produce(self, event):
        if event.index == 3:
            with open("here", "w") as here:
                here.write("here")
            with open("go") as go:
                go.read()
        with open("processed", "a") as processed:
            processed.write(f"{event.index}\\n")
        event[self.made] = event.index

process = Process("BLOCKING")
process.source = EmptySource(events={events})
process.blocking = Blocking()
process.path = Path(process.blocking)
process.options.threads = 1
process.options.streams = 1
"""


class Running:
    """A job that is in the middle of its fourth event."""

    def __init__(self, folder, events=100):
        (folder / "blocking.py").write_text(BLOCKING.replace("{events}", str(events)))
        for name in ("here", "go"):
            os.mkfifo(folder / name)
        command = [*evtfw_command(), "run", "blocking.py", "--no-progress"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.folder = folder
        self.process = subprocess.Popen(command, cwd=folder, **pipes)
        (folder / "here").read_text()  # until the module is there

    def read_error_until(self, words):
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if words in line:
                return "".join(lines)
        raise AssertionError(f"'{words}' not in " + "".join(lines))

    def go(self):
        """Let the event be finished, and wait for the end."""
        (self.folder / "go").write_text("go")
        return self.end()

    def end(self):
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    @property
    def processed(self):
        return (self.folder / "processed").read_text().split()


@pytest.fixture
def running(tmp_path, request):
    job = Running(tmp_path, getattr(request, "param", 100))
    yield job
    if job.process.poll() is None:
        job.process.kill()
    job.process.communicate()


@pytest.mark.parametrize("running", [10**9], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_events_in_flight(running, number):
    running.process.send_signal(number)
    running.read_error_until(f"{number.name}: events in flight are being finished")
    returned, out, err = running.go()
    assert returned == 128 + number
    count = len(running.processed)
    assert count >= 4  # the one that was held up, and those until the request to stop was seen
    assert running.processed == [str(index) for index in range(count)]
    assert f"= {count:,} read".replace(",", " ") in out
    assert "Traceback" not in err


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_at_once(running, second):
    running.process.send_signal(signal.SIGINT)
    running.read_error_until("once more to leave at once")
    running.process.send_signal(second)
    returned, _, err = running.end()
    assert returned == 128 + second
    assert f"{second.name} again: leaving at once" in err
    assert running.processed == ["0", "1", "2"]


def test_sigusr1_tells_what_is_going_on(running):
    running.process.send_signal(signal.SIGUSR1)
    assert "blocking" in running.read_error_until("blocking")
    returned, out, _ = running.go()
    assert returned == 0
    assert "= 100 read" in out


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="whoever started the tests ignores SIGINT"
)
def test_an_interrupt_while_the_configuration_is_loaded(tmp_path):
    os.mkfifo(tmp_path / "here")
    (tmp_path / "waiting.py").write_text("import signal\nopen('here', 'w').close()\nsignal.pause()\n")
    command = [*evtfw_command(), "run", "waiting.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        (tmp_path / "here").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == ExitCode.INTERRUPTED
        assert process.stderr.read().strip() == "interrupted"


def test_a_reader_that_leaves_does_not_change_the_exit_code(job):
    with subprocess.Popen(
        [*evtfw_command(), "run", "job.py", "--no-progress"],
        cwd=job.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""


# Settings of the process


def test_the_switch_interval_is_set_or_left():
    before = sys.getswitchinterval()
    try:
        set_switch_interval(0.002)
        set_switch_interval(None)
        assert sys.getswitchinterval() == pytest.approx(0.002)
    finally:
        sys.setswitchinterval(before)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_the_allocator_can_be_tuned():
    import platform

    assert tune_allocator() is (platform.libc_ver()[0] == "glibc")
