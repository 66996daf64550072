"""Each benchmark runs and finds what it says; how fast is not a matter of tests."""

import importlib
import json

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.measure import Figure, Options, Report, interleaved, ratios

pytestmark = pytest.mark.xdist_group("benchmarks")  # those that start jobs would only wait for each other


def measure(name, **options):
    return importlib.import_module(f"benchmarks.{name}").measure(Options(rounds=1, **options))


def values(report):
    return {(figure.group, figure.name): figure.value for figure in report.figures}


def test_every_benchmark_has_a_line_in_the_help_and_a_function():
    text = CliRunner().invoke(main, ["--help"]).output
    for name in BENCHMARKS:
        assert name in text
        assert callable(importlib.import_module(f"benchmarks.{name}").measure)


def test_overhead_compares_evtfw_with_all_peers_on_all_graphs():
    pytest.importorskip("dask")
    pytest.importorskip("thepipe")
    found = values(measure("overhead", scale=0.005))
    for graph in ("chain of 10", "10 independent + join", "DAG of 100"):
        peers = [name for group, name in found if group == graph]
        assert len(peers) == 9
        assert 0 < found[graph, "bare loop, no-op"] < found[graph, "Dask threaded, no-op"]
        assert 0 < found[graph, "evtfw, no-op"] < found[graph, "Dask threaded, no-op"]


def test_bulks_are_compared_module_by_module(small_file):
    found = values(measure("bulks", files=(small_file,)))
    for group in ("1 at once", "64 at once", "chosen by the job"):
        modules = [found[group, label] for label in ("source", "jets", "constituents", "softdrop", "images")]
        assert 0 < max(modules) < found[group, "all"]
    assert found["64 at once", "softdrop"] < found["1 at once", "softdrop"]


def test_external_call_counts_both_ways_of_answering():
    found = values(measure("external_call", scale=0.02))
    assert -100 < found["completed inside acquire", "1 stream"] < 1000
    assert {f"from another thread, {n} streams" for n in (32, 64)} < {group for group, _ in found}


def test_hiding_reaches_some_of_the_ideal():
    found = values(measure("hiding", scale=0.02))
    assert 0.05 < found["of the ideal", "evtfw"] < 5
    assert found["events/s", "ideal: no service"] > 0


def test_memory_tells_growth_and_peak():
    found = values(measure("memory", scale=0.02))
    assert found["memory", "peak"] > 10
    assert ("memory", "growth per 10 000 events") in found


def test_switch_interval_shows_all_intervals():
    found = values(measure("switch_interval", scale=0.02))
    assert found["5 ms", "throughput"] == 1
    assert found["0.05 ms", "lateness of replies, median"] > 0


def test_toptag_compares_with_the_script_and_the_network(small_file):
    report = measure("toptag", scale=0.1, files=(small_file,))
    found = values(report)
    assert found["events/s", "evtfw run configs/toptag.py"] > 0
    assert found["stages, by hand", "network"] > 0
    assert [figure.target for figure in report.figures if figure.target] == [1.0, 0.9]


def test_startup_compares_the_first_event_with_the_libraries():
    found = values(measure("startup"))
    assert 0 < found["ratio", "first event / imports"] < 10


def test_threads_compares_many_with_few(small_file):
    found = values(measure("threads", scale=0.02, files=(small_file,)))
    assert found["Python-bound, events/s", "8 against 2"] > 0
    assert found["idle", "CPU of 8 threads that wait for a service"] < 100


def test_the_emulated_device_is_compared_with_the_formulas():
    found = values(measure("emulator_clock", scale=0.01))
    assert found["brainwave-arria10, virtual clock", "throughput, worst of 1 to 50 clients"] < 0.1
    assert ("random arrivals, virtual clock", "mean wait at load 0.9") in found
    for clients in (1, 50):
        assert found[f"100 ms, real clock, {clients} clients", "latency p50"] >= 0


def test_the_command_writes_all_samples_and_tells_of_missed_targets(tmp_path, monkeypatch):
    report = Report("a test", [Figure("group", "name", [3.0, 1.0, 2.0], "s", target=1.5)], ["a note"])
    monkeypatch.setattr("benchmarks.memory.measure", lambda options: report)
    file = tmp_path / "found.json"
    ended = CliRunner().invoke(main, ["memory", "--json", str(file)])
    assert ended.exit_code == 1
    assert "fail" in ended.output
    assert "a note" in ended.output
    figure = json.loads(file.read_text())["benchmarks"]["memory"]["figures"][0]
    assert (figure["value"], figure["best"], figure["passed"], figure["samples"]) == (2.0, 1.0, False, [3.0, 1.0, 2.0])


def test_candidates_take_turns():
    order = []
    jobs = {name: lambda name=name: order.append(name) for name in "ab"}
    interleaved(jobs, 3)
    assert "".join(order) == "abbaab"


def test_targets_are_upper_or_lower_bounds():
    assert Figure("", "", [1.0], "", target=1.0).passed
    assert not Figure("", "", [0.9], "", target=1.0, at_least=True).passed
    assert Figure("", "", [0.9], "").passed is None
    assert ratios([2.0, 3.0], [1.0, 2.0]) == [2.0, 1.5]
