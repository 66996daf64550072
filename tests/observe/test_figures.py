import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.core.errors import ExitCode
from evtfw.observe.figures import job_figures
from tests.observe.synthetic import record

seconds = st.floats(0, 100)


@pytest.fixture(scope="module")
def made():
    return record(events=400)


def figures_of(made, **statistics):
    result = dataclasses.replace(made.result, statistics=statistics)
    return job_figures(made.info, result, made.timing)


@given(busy_s=seconds, source_wait_s=seconds, output_wait_s=seconds, start_s=seconds)
def test_shares_add_up_to_one(busy_s, source_wait_s, output_wait_s, start_s):
    made = record_once()
    statistics = {
        "busy_s": busy_s,
        "source_wait_s": source_wait_s,
        "output_wait_s": output_wait_s,
        "start_s": start_s,
    }
    figures = figures_of(made, **statistics)
    assert sum(share.fraction for share in figures.shares) == pytest.approx(1)
    assert all(share.fraction > 0 for share in figures.shares)
    assert figures.occupancy <= 1


_RECORDS = []


def record_once():
    if not _RECORDS:
        _RECORDS.append(record(events=100))
    return _RECORDS[0]


def test_missing_statistics_are_no_harm(made):
    figures = figures_of(made)
    assert figures.occupancy is None
    assert figures.overhead_us is None
    assert figures.shares == ()
    assert figures.threads == made.info.threads


def test_overhead_is_what_modules_do_not_use(made):
    busy_s = made.timing.module_wall_ns * 1e-9 + made.timing.module_calls * 2e-6
    assert figures_of(made, busy_s=busy_s).overhead_us == pytest.approx(2.0)


def test_verdicts(made):
    threads_s = made.result.wall_s * made.info.threads
    assert "interpreter lock" in figures_of(made, busy_s=1.0, gil_bound=1.0).verdict
    assert "'softdrop'" in figures_of(made, busy_s=threads_s * 0.95).verdict
    assert "'toptag'" in figures_of(made, busy_s=0.3 * threads_s).verdict
    assert "source" in figures_of(made, busy_s=0.3 * threads_s, source_wait_s=1e6).verdict
    assert "output" in figures_of(made, busy_s=0.3 * threads_s, output_wait_s=1e6).verdict
    assert "job is short" in figures_of(made, busy_s=0.01, start_s=0.9 * made.result.wall_s).verdict
    cores = made.result.cpu_s / made.result.wall_s
    assert "All cores" in figures_of(made, busy_s=0.3 * threads_s, cores=cores).verdict


def test_a_job_without_events_has_figures(made):
    result = dataclasses.replace(made.result, events_read=0, fates={}, wall_s=0.0, exit_code=ExitCode.INPUT)
    figures = job_figures(made.info, result, None)
    assert figures.events_per_s == 0
    assert "no event" in figures.verdict
