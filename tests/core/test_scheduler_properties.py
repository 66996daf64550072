"""What must hold for every job, whatever its graph, its failures, the replies' order and the threads' interleaving."""

from __future__ import annotations

import dataclasses
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evtfw.core.errors import ProductError
from tests.core.oracle import Oracle, expected_paths
from tests.core.random_jobs import JobSpec, job_specs, run_job

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(spec=job_specs(), seed=st.integers(0, 2**32), streams=st.integers(1, 5), chains=st.booleans())
def test_result_equals_that_of_one_stream(spec: JobSpec, seed: int, streams: int, chains: bool) -> None:
    one_by_one = dataclasses.replace(spec, bulk_events=1)
    plain, plain_world = run_job(one_by_one, seed=0, streams=1, chains=True)
    result, world = run_job(spec, seed=seed, streams=streams, chains=chains)
    assert world.records == plain_world.records
    assert result.fates == plain.fates
    assert result.paths == plain.paths
    assert result.failures_count == plain.failures_count
    assert result.error is None


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(spec=job_specs(), seed=st.integers(0, 2**32), streams=st.integers(1, 5), chains=st.booleans())
def test_result_is_what_the_oracle_says(spec: JobSpec, seed: int, streams: int, chains: bool) -> None:
    result, world = run_job(spec, seed=seed, streams=streams, chains=chains)
    for index in range(spec.events):
        products, states, event_id = world.records[index]
        oracle = Oracle(spec, event_id.event)
        assert products == oracle.products()
        assert states == oracle.states()
    for name, counts in expected_paths(spec).items():
        found = result.paths[name]
        assert (found.accepted, found.rejected, found.failed) == (
            counts["accepted"], counts["rejected"], counts["failed"],
        )  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(spec=job_specs(), seed=st.integers(0, 2**32), streams=st.integers(1, 5))
def test_every_event_ends_once_and_every_module_runs_at_most_once(spec: JobSpec, seed: int, streams: int) -> None:
    result, world = run_job(spec, seed=seed, streams=streams, chains=False)
    assert result.events_read == spec.events == sum(result.fates.values())
    assert result.fates["unprocessed"] == 0
    assert sorted(world.records) == list(range(spec.events))
    assert all(count == 1 for count in Counter(world.calls).values())
    for path, counts in result.paths.items():
        assert counts.accepted + counts.rejected + counts.failed == spec.events, path


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(spec=job_specs(), seed=st.integers(0, 2**32), streams=st.integers(1, 5), chains=st.booleans())
def test_no_module_reads_what_is_not_there(spec: JobSpec, seed: int, streams: int, chains: bool) -> None:
    """Reading a product before it was put, or after it was released, raises ProductError."""
    result, _ = run_job(spec, seed=seed, streams=streams, chains=chains)
    assert not [f for f in result.failures if isinstance(f.error, ProductError)]


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(spec=job_specs(), seed=st.integers(0, 2**32), streams=st.integers(1, 5))
def test_produce_follows_exactly_one_resolved_acquire(spec: JobSpec, seed: int, streams: int) -> None:
    _, world = run_job(spec, seed=seed, streams=streams, chains=False)
    for position, (label, what, event) in enumerate(world.calls):
        if what == "produce":
            assert world.calls.index((label, "acquire", event)) < position
            outcome = spec.modules[int(label[1:])]
            if event + 1 in outcome.fails_in:
                assert outcome.outcome in ("reply", "now", "twice")


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(spec=job_specs(), seed=st.integers(0, 2**32))
def test_same_seed_same_run(spec: JobSpec, seed: int) -> None:
    first, first_world = run_job(spec, seed=seed, streams=3, chains=False)
    second, second_world = run_job(spec, seed=seed, streams=3, chains=False)
    assert first_world.calls == second_world.calls
    assert first.statistics["tasks"] == second.statistics["tasks"]
