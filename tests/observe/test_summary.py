import dataclasses
import io

import pytest
from rich.console import Console

from evtfw.core.errors import ExitCode
from evtfw.observe.summary import TimingSummary, bar
from tests.observe.synthetic import record


@pytest.fixture(scope="module")
def made():
    return record(events=1500, failure_rate=0.01)


def printed(summary, **settings):
    file = io.StringIO()
    summary.print(Console(file=file, **settings))
    return file.getvalue()


def test_it_tells_all_that_matters(made):
    text = printed(TimingSummary(made.info, made.result, made.timing))
    for label in ("source", "jets", "softdrop", "TriggerResults", "cleaning", "DeadlineExceeded", "cpu:toptag"):
        assert label in text
    assert "1 500 events" in text
    assert "events/s" in text
    assert "overhead" in text
    assert " = 1 500 read" in text
    assert "basket 3 of Jet_pt is corrupt" in text


def test_the_fates_shown_add_up(made):
    text = printed(TimingSummary(made.info, made.result, made.timing))
    line = next(line for line in text.splitlines() if "written +" in line)
    parts, total = line.split("=")
    numbers = [int("".join(c for c in part if c.isdigit())) for part in parts.split("+")]
    assert sum(numbers) == int("".join(c for c in total.split("read")[0] if c.isdigit()))


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_it_fits_the_terminal(made, width):
    summary = TimingSummary(made.info, made.result, made.timing)
    text = printed(summary, force_terminal=True, width=width, color_system=None)
    assert max(map(len, text.splitlines())) <= width


def test_no_figure_is_cut_at_100_columns(made):
    text = printed(
        TimingSummary(made.info, made.result, made.timing), force_terminal=True, width=100, color_system=None
    )
    assert "…" not in text


def test_without_a_terminal_it_has_no_colours_and_100_columns(made):
    text = printed(TimingSummary(made.info, made.result, made.timing), width=40)
    assert "\x1b" not in text
    assert 90 < max(map(len, text.splitlines())) <= 100


def test_without_unicode_it_is_ascii(made):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    TimingSummary(made.info, made.result, made.timing).print(Console(file=file, width=100))
    file.flush()
    table = file.buffer.getvalue().decode()
    assert "#" in table
    assert "─" not in table


def test_without_timing_it_still_counts(made):
    text = printed(TimingSummary(made.info, made.result))
    assert "1 500 events" in text
    assert "softdrop" not in text
    assert "cleaning" in text
    assert str(made.result.failures_count) in text


def test_a_failed_job_says_so(made):
    error = RuntimeError("module 'x' broke")
    result = dataclasses.replace(made.result, exit_code=ExitCode.MODULE, error=error, stopped_by="SIGINT")
    text = printed(TimingSummary(made.info, result, made.timing))
    assert "exit code 40 (MODULE)" in text
    assert "module 'x' broke" in text
    assert "stopped by SIGINT" in text


def test_messages_with_brackets_are_shown_as_they_are(made):
    error = RuntimeError("shape [bold]3[/bold] [/]")
    result = dataclasses.replace(made.result, exit_code=ExitCode.MODULE, error=error)
    assert "shape [bold]3[/bold] [/]" in printed(TimingSummary(made.info, result))


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.33, 0.999, 1.0])
def test_bars_have_their_width(fraction):
    assert len(bar(fraction, 10)) == 10
    assert len(bar(fraction, 10, ascii_only=True)) == 10
