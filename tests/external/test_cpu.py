from __future__ import annotations

import hashlib
import json
import shutil
import threading

import numpy as np
import pytest

import evtfw.data
from evtfw.core.clock import RealClock
from evtfw.core.errors import BadReply, BadRequest, ConfigurationError, ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend
from evtfw.external.cpu import CpuBackend
from evtfw.external.fallback import fallback
from tests.external.conftest import MODELS, submit


@pytest.fixture
def open_backend(said):
    backends = []

    def make(value, streams=4, threads=2):
        backend = Backend.from_configuration(value)
        backends.append(backend)
        backend.open(JobContext(RealClock(), threads, streams, said.append))
        return backend

    yield make
    for backend in backends:
        backend.close()


def model(name, options=""):
    return f"cpu:{MODELS / name}.onnx{options}"


def points(*numbers):
    return {"x": np.array(numbers, np.float32).reshape(-1, 3)}


def test_it_answers_with_names_provenance_and_times(open_backend):
    backend = open_backend(model("double"))
    reply = submit(backend, points(1, 2, 3, 4, 5, 6)).reply
    assert reply["y"].tolist() == [[2, 4, 6], [8, 10, 12]]
    assert reply["total"].tolist() == [6, 15]
    assert reply.provenance.backend == model("double")
    assert reply.provenance.model == "double"
    assert reply.provenance.sha256 == hashlib.sha256((MODELS / "double.onnx").read_bytes()).hexdigest()
    assert reply.times.compute_ns > 0
    assert reply.times.batch_rows == 2


def test_it_describes_the_model(open_backend):
    description = open_backend(model("double")).describe()
    assert [str(spec) for spec in description.inputs] == ["x: float32 [?, 3]"]
    assert [str(spec) for spec in description.outputs] == ["y: float32 [?, 3]", "total: float32 [?]"]
    assert description.is_batched
    assert description.platform == "onnxruntime"


def test_an_empty_request_gives_empty_outputs(open_backend):
    backend = open_backend(model("double"))
    reply = submit(backend, points()).reply
    assert reply["y"].shape == (0, 3)
    assert reply["total"].shape == (0,)
    assert reply["total"].dtype == np.float32
    assert backend.statistics.batches == 0


def test_a_wrong_request_names_tensor_expected_and_given(open_backend):
    error = submit(open_backend(model("double")), {"x": np.zeros((2, 3))}).error
    assert isinstance(error, BadRequest)
    assert "input 'x': expected float32 [?, 3], got float64 [2, 3]" in str(error)


def test_requests_of_many_events_are_answered_each_with_its_own(open_backend):
    backend = open_backend(model("double", "?max_batch=4"))
    sizes = [i % 7 for i in range(200)]
    outcomes = [submit(backend, {"x": np.full((size, 3), i, np.float32)}) for i, size in enumerate(sizes)]
    for i, (size, outcome) in enumerate(zip(sizes, outcomes, strict=True)):
        assert outcome.reply["total"].tolist() == [3 * i] * size


def test_nan_fails_flags_or_passes(open_backend):
    bad = {"x": np.array([[-1.0]], np.float32)}
    assert isinstance(submit(open_backend(model("root")), bad).error, BadReply)
    assert submit(open_backend(model("root", "?nonfinite=flag")), bad).reply.nonfinite == ("y",)
    assert submit(open_backend(model("root", "?nonfinite=pass")), bad).reply.nonfinite == ()


def test_a_model_without_batch_axis_gets_each_request_as_it_is(open_backend):
    backend = open_backend(model("whole"))
    assert not backend.describe().is_batched
    outcomes = [submit(backend, {"x": np.ones((2, width), np.float32)}) for width in (0, 1, 5)]
    assert [outcome.reply["y"].shape for outcome in outcomes] == [(2, 0), (2, 1), (2, 5)]
    assert isinstance(submit(backend, {"x": np.ones((3, 1), np.float32)}).error, BadRequest)


def test_the_batch_axis_can_be_denied(open_backend):
    backend = open_backend(model("double", "?max_batch=0"))
    assert not backend.describe().is_batched
    assert submit(backend, points(1, 2, 3)).reply["total"].tolist() == [6]
    assert submit(backend, points()).reply["total"].shape == (0,)


def test_requests_of_different_widths(open_backend):
    backend = open_backend(model("ragged"))
    outcomes = [submit(backend, {"x": np.arange(width, dtype=np.float32).reshape(1, -1)}) for width in (3, 1, 3, 2)]
    assert [outcome.reply["y"].item() for outcome in outcomes] == [2, 0, 2, 1]


def test_the_shipped_model_answers_like_onnxruntime_alone(open_backend):
    import onnxruntime

    images = np.random.default_rng(3).random((3, 64, 64, 1), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(evtfw.data.path("toptag.onnx")), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["probability"], {"image": images})
    reply = submit(open_backend("cpu:toptag"), {"image": images}).reply
    np.testing.assert_allclose(reply["probability"], expected, rtol=1e-5)
    assert reply.provenance.sha256 == json.loads(evtfw.data.path("toptag.json").read_text())["sha256"]


def test_a_fallback_with_nothing_else_says_that_the_cpu_is_used(open_backend, said):
    open_backend(fallback(None, "cpu:toptag"))
    assert said == ["using embedded CPU model 'toptag' (cpu:toptag)"]


def test_threads_are_shared_out_and_end_with_the_backend(open_backend, monkeypatch):
    import os

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for threads, streams, expected in ((4, 16, 4), (16, 16, 8), (4, 2, 2), (1, 4, 1)):
        backend = open_backend(model("double"), threads=threads, streams=streams)
        names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("evtfw-cpu-"))
        assert names == [f"evtfw-cpu-{number}" for number in range(expected)]
        assert backend.slots == expected
        backend.close()
        assert not any(thread.name.startswith("evtfw-cpu-") for thread in threading.enumerate())


def test_it_can_be_opened_again(open_backend, context):
    backend = open_backend(model("double"))
    backend.close()
    assert isinstance(submit(backend, points(1, 2, 3)).error, ExternalError)
    backend.open(context)
    assert submit(backend, points(1, 2, 3)).reply["total"].tolist() == [6]


def test_one_object_does_not_serve_two_jobs_at_once(open_backend, context):
    backend = open_backend(model("double"))
    with pytest.raises(ConfigurationError, match="is open already"):
        backend.open(context)
    assert submit(backend, points(1, 2, 3)).reply["total"].tolist() == [6]


def test_before_opening_it_fails_requests_and_says_so():
    backend = CpuBackend("toptag")
    assert backend.url == "cpu:toptag"
    assert "is not open" in str(submit(backend, points()).error)
    backend.close()
    with pytest.raises(ExternalError, match="not open yet"):
        backend.describe()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("cpu:topta", r"there is no model 'cpu:topta'; did you mean 'toptag'.*; for a file of yours write its path"),
        (model("doubl"), r"there is no model file .*doubl\.onnx; did you mean 'double\.onnx'"),
        ("cpu:/no/such/folder/m.onnx", "there is no folder /no/such/folder"),
    ],
)
def test_a_missing_model_names_the_nearest(open_backend, url, message):
    with pytest.raises(ConfigurationError, match=message):
        open_backend(url)


def test_a_damaged_file_is_told_at_the_start(open_backend, tmp_path):
    (tmp_path / "bad.onnx").write_bytes((MODELS / "double.onnx").read_bytes()[:-20])
    with pytest.raises(ExternalError, match=r"onnxruntime [\d.]+ cannot load .*bad\.onnx"):
        open_backend(f"cpu:{tmp_path}/bad.onnx")


def test_a_file_that_is_not_the_one_of_its_card_is_refused(open_backend, tmp_path):
    shutil.copy(MODELS / "double.onnx", tmp_path / "m.onnx")
    card = tmp_path / "m.json"
    card.write_text(json.dumps({"name": "doubler", "version": 2, "sha256": "0" * 64}))
    with pytest.raises(ExternalError, match=r"its card m\.json says 000"):
        open_backend(f"cpu:{tmp_path}/m.onnx")
    card.write_text(json.dumps({"name": "doubler", "version": 2}))
    backend = open_backend(f"cpu:{tmp_path}/m.onnx")
    assert (backend.describe().name, backend.describe().version) == ("doubler", "2")
    card.write_text("{")
    with pytest.raises(ExternalError, match=r"card .*m\.json cannot be read"):
        open_backend(f"cpu:{tmp_path}/m.onnx")


@pytest.mark.parametrize("url", ["cpu:", "cpu://host/m", "cpu:m?threads=-1", "cpu:m?nonfinite=ignore", "cpu:m?x=1"])
def test_a_wrong_url_is_refused_by_the_configuration(url):
    with pytest.raises(ValueError, match="cpu:"):
        Backend.from_configuration(url)
