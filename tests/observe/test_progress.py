import io
import re

import pytest
from rich.console import Console

from evtfw.core.observer import Activity
from evtfw.observe.progress import ProgressObserver
from tests.observe.synthetic import START_NS, toptag_info


def activity(second, ended, **changes):
    values = {"fates": {"failed": 0}, "busy_threads": 2, "waiting_external": {"toptag": 3}, "waiting_source": 0}
    values.update(changes)
    return Activity(START_NS + int(second * 1e9), ended + 4, ended, **values)


def plain(events, seconds, events_per_s, tick_s=0.1, **settings):
    file = io.StringIO()
    observer = ProgressObserver(Console(file=file, width=60), **settings)
    observer.begin_job(toptag_info(events=events))
    for tick in range(int(seconds / tick_s)):
        observer.tick(activity(tick * tick_s, int(tick * tick_s * events_per_s)))
    observer.end_job(None)
    return file.getvalue().splitlines()


def test_plain_lines_come_at_every_tenth():
    lines = plain(events=10_000, seconds=100, events_per_s=100)
    assert lines[0] == "TOPTAG: processing 10 000 events with 4 threads and 8 streams"
    assert 10 <= len(lines) <= 14
    assert lines[1].startswith(
        "TOPTAG: 1 000 of 10 000 events (10%), 100 events/s, 1 min 30 s left, in flight: toptag 3"
    )


def test_a_day_makes_few_lines():
    assert len(plain(events=None, seconds=86_400, events_per_s=3, tick_s=2.0)) < 180


def test_a_short_job_says_little():
    assert len(plain(events=1000, seconds=1.5, events_per_s=900)) == 1


def test_quiet_says_nothing():
    assert plain(events=1000, seconds=100, events_per_s=10, quiet=True) == []


def test_an_unknown_number_of_events():
    lines = plain(events=None, seconds=30, events_per_s=10)
    assert lines[0].startswith("TOPTAG: processing events")
    assert "left" not in lines[1]
    assert re.match(r"TOPTAG: \d+ events, 10.0 events/s", lines[1])


def test_failures_are_shown():
    file = io.StringIO()
    observer = ProgressObserver(Console(file=file, width=60))
    observer.begin_job(toptag_info(events=100))
    observer.tick(activity(11, 20, fates={"failed": 7}))
    assert "7 failed" in file.getvalue()


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=110)


def test_on_a_terminal_one_line_is_redrawn_and_cleared(terminal):
    observer = ProgressObserver(terminal)
    observer.begin_job(toptag_info(events=1000))
    for second in range(1, 4):
        observer.tick(activity(second, 100 * second))
    shown = terminal.file.getvalue()
    assert "300 of 1 000 events (30%)" in shown
    assert "100 events/s" in shown
    assert "7 s left" in shown
    observer.end_job(None)
    assert terminal.file.getvalue().endswith("\x1b[2K")


def test_the_cursor_is_never_left_hidden(terminal):
    observer = ProgressObserver(terminal)
    observer.begin_job(toptag_info(events=1000))
    observer.tick(activity(1, 1))
    shown = terminal.file.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    observer.close()


def test_an_exception_leaves_the_terminal_as_it_was(terminal):
    def interrupted():
        with ProgressObserver(terminal) as observer:
            observer.begin_job(toptag_info(events=1000))
            observer.tick(activity(1, 10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.file.getvalue().endswith("\x1b[2K")


def test_the_rate_is_that_of_the_last_seconds(terminal):
    observer = ProgressObserver(terminal)
    observer.begin_job(toptag_info(events=100_000))
    for second in range(1, 31):
        observer.tick(activity(second, 10 * second))
    for second in range(31, 51):
        observer.tick(activity(second, 300 + 1000 * (second - 30)))
    assert "1 000 events/s" in terminal.file.getvalue().splitlines()[-1]
    observer.close()
