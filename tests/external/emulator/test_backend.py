"""``fpga:``: what is answered, by whom, when, and what is told of it."""

import hashlib
import json
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.clock import RealClock
from evtfw.core.completion import CallbackCompletion
from evtfw.core.errors import BadRequest, ConfigurationError, ExternalError
from evtfw.core.resource import JobContext
from evtfw.core.simulation import VirtualClock
from evtfw.external.contract import Backend
from evtfw.external.emulator.device.description import Device
from evtfw.external.fallback import fallback
from tests.external.conftest import Outcome, submit
from tests.external.emulator.device.queueing import opened, write_model

SLOW = Device(title="slow", latency_s=0.01, initiation_interval_s=0.002)
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "dense.onnx"
    return SimpleNamespace(path=path, weight=write_model(path))


@pytest.fixture
def open_backend(said):
    backends = []

    def make(value, clock=None):
        backend = Backend.from_configuration(value)
        backends.append(backend)
        backend.open(JobContext(clock or RealClock(), 2, 4, said.append))
        return backend

    yield make
    for backend in backends:
        backend.close()


def run(clock):
    while clock.advance():
        pass


# What is answered


def test_it_answers_with_names_provenance_and_both_times(open_backend, dense):
    url = f"fpga:{dense.path}?device=brainwave-arria10"
    backend = open_backend(url)
    reply = submit(backend, {"x": ROWS}).reply
    assert reply["y"].tolist() == (ROWS @ dense.weight).tolist()
    card = json.loads(dense.path.with_suffix(".json").read_text())
    by = reply.provenance
    assert (by.backend, by.model, by.sha256, by.device) == (url, "dense", card["sha256"], "brainwave-arria10")
    assert reply.times.compute_ns > 0
    assert reply.times.device_ns > 1.8e6 + 3 / 650 * 1e9
    assert (reply.times.device_queue_ns, reply.times.held_ns, reply.times.late_ns) == (0, 0, 0)


def test_it_tells_what_it_is(open_backend, dense):
    backend = open_backend(f"fpga:{dense.path}?device=hls4ml-vu9p&devices=2&pace=device")
    assert backend.describe().platform == "fpga-emulation"
    assert backend.describe().is_batched
    assert backend.summary == (
        f"FPGA emulation of 'dense' (ap_fixed<16,6> on hls4ml-vu9p with devices=2, device's pace; {backend.url})"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_no_fixed_point_number_can_hold_is_refused(open_backend, dense, value):
    backend = open_backend(f"fpga:{dense.path}?device=hls4ml-vu9p")
    rows = ROWS.copy()
    rows[1, 2] = value
    error = submit(backend, {"x": rows}).error
    assert isinstance(error, BadRequest)
    assert "NaN or infinity in x, which ap_fixed<16,6> cannot hold" in str(error)
    assert submit(backend, {"x": ROWS}).reply


def test_what_it_was_converted_from_is_no_other_model(open_backend, dense, tmp_path, said):
    source = tmp_path / "source.onnx"
    shutil.copy(dense.path, source)
    card = json.loads(dense.path.with_suffix(".json").read_text())
    converted = tmp_path / "converted.onnx"
    model = onnx.load(source)
    model.doc_string = "converted"
    onnx.save(model, converted)
    sha256 = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in (source, converted)}
    card |= {"sha256": sha256[converted], "source": {**card["source"], "sha256": sha256[source]}}
    converted.with_suffix(".json").write_text(json.dumps(card))
    open_backend(fallback(f"fpga:{converted}?device=hls4ml-vu9p", f"cpu:{source}"))
    assert not any("another model" in line for line in said)


def test_requests_without_rows_take_no_device(open_backend, dense):
    backend = open_backend(f"fpga:{dense.path}?device=hls4ml-vu9p&pace=device")
    reply = submit(backend, {"x": ROWS[:0]}).reply
    assert reply["y"].shape == (0, 2)
    assert reply.times.device_ns == 0


def test_a_wrong_request_is_refused(open_backend, dense):
    error = submit(open_backend(f"fpga:{dense.path}?device=hls4ml-vu9p"), {"x": np.zeros((1, 3))}).error
    assert isinstance(error, BadRequest)
    assert "expected float32 [?, 3], got float64 [1, 3]" in str(error)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    rows=st.integers(1, 16),
    max_batch=st.integers(1, 64),
    fixed=st.booleans(),
    paced=st.booleans(),
)
def test_results_do_not_depend_on_batches(dense, sizes, rows, max_batch, fixed, paced):
    from evtfw.external.embedded import EmbeddedSettings

    device = Device(
        title="t", latency_s=1e-6, initiation_interval_s=1e-7, batch={"rows": rows, "fixed": fixed}, kernels=2
    )
    values = np.random.default_rng(len(sizes)).integers(-1000, 1000, (sum(sizes), 3)).astype(np.float32)
    requests = np.split(values, np.cumsum(sizes)[:-1])
    backend = opened(
        dense.path,
        device,
        RealClock(),
        pace="device" if paced else "asap",
        settings=EmbeddedSettings(max_batch=max_batch),
    )
    outcomes = [submit(backend, {"x": request}) for request in requests]
    answered = np.concatenate([outcome.reply["y"] for outcome in outcomes])
    backend.close()
    assert answered.tobytes() == (values.astype(np.float64) @ dense.weight).astype(np.float32).tobytes()


# When


def test_replies_come_at_the_modelled_time(dense):
    clock = VirtualClock()
    backend = opened(dense.path, SLOW, clock)
    outcomes = [submit(backend, {"x": ROWS[:n]}) for n in (1, 1, 3)]
    assert not any(outcome.is_there for outcome in outcomes)
    came = []
    while clock.advance():
        came += [(clock.now_ns(), n) for n, outcome in enumerate(outcomes) if outcome.is_there][len(came) :]
    assert came == [(10_000_000, 0), (12_000_000, 1), (18_000_000, 2)]
    times = [outcome.reply.times for outcome in outcomes]
    assert [(t.device_ns, t.device_queue_ns) for t in times] == [
        (10_000_000, 0), (10_000_000, 2_000_000), (14_000_000, 4_000_000),
    ]  # fmt: skip
    assert [t.held_ns for t in times] == [10_000_000, 12_000_000, 18_000_000]
    assert backend.statistics.requests == 3
    assert backend.statistics.busy_s == pytest.approx(0.01)


def test_at_their_own_pace_replies_come_at_once_and_do_not_meet(dense):
    clock = VirtualClock()
    backend = opened(dense.path, SLOW, clock, pace="asap")
    outcomes = [submit(backend, {"x": ROWS[:1]}) for _ in range(3)]
    assert [outcome.reply.times.device_ns for outcome in outcomes] == [10_000_000] * 3
    assert {outcome.reply.times.device_queue_ns for outcome in outcomes} == {0}
    assert clock.now_ns() == 0


def test_a_reply_that_takes_longer_here_than_there_is_late_and_says_so(dense):
    fast = Device(title="t", latency_s=1e-9, initiation_interval_s=1e-9)
    backend = opened(dense.path, fast, RealClock())
    reply = submit(backend, {"x": ROWS}).reply
    assert reply.times.late_ns > 0
    assert reply.times.held_ns == 0
    assert reply.times.device_ns == 4
    assert backend.statistics.late == 1
    backend.close()


def test_it_asks_for_as_many_requests_as_fill_the_pipeline(dense):
    assert opened(dense.path, SLOW).slots == 5
    assert opened(dense.path, SLOW, pace="asap").slots == 1


# Giving up


def test_a_request_that_is_given_up_is_not_answered(dense):
    clock = VirtualClock()
    backend = opened(dense.path, SLOW, clock)
    outcome = Outcome()
    backend.submit({"x": ROWS}, outcome.done)
    outcome.done.cancel()
    assert clock.next_due_ns() is None
    run(clock)
    assert not outcome.is_there


def test_what_is_held_when_it_closes_fails(dense):
    backend = opened(dense.path, SLOW)
    outcome = submit(backend, {"x": ROWS})
    backend.close()
    assert isinstance(outcome.error, ExternalError)
    assert "closed" in str(outcome.error)
    assert "is not open" in str(submit(backend, {"x": ROWS}).error)
    with pytest.raises(ExternalError, match="not open yet"):
        backend.describe()


def test_it_can_be_opened_again_but_not_twice(dense, context):
    backend = opened(dense.path, SLOW, pace="asap")
    with pytest.raises(ConfigurationError, match="is open already"):
        backend.open(context)
    backend.close()
    backend.open(JobContext(VirtualClock(), 1, 1, print))
    assert submit(backend, {"x": ROWS}).reply["y"].shape == (4, 2)


def test_many_threads_and_clients(dense):
    backend = opened(dense.path, Device(title="t", latency_s=2e-3, initiation_interval_s=1e-4), RealClock())
    wrong, ended = [], threading.Semaphore(0)

    def client(number):
        for step in range(40):
            x = np.full((1 + step % 3, 3), number * 100 + step, np.float32)
            reply = submit(backend, {"x": x}).reply
            if reply["y"].tolist() != (x @ dense.weight).tolist():
                wrong.append((number, step))
        ended.release()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    backend.close()
    assert not wrong
    assert backend.statistics.requests == 320


# What the configuration says


def test_the_device_of_the_card_is_the_default(open_backend, tmp_path, said):
    write_model(tmp_path / "m.onnx", device="hls4ml-ku115")
    backend = open_backend(f"fpga:{tmp_path}/m.onnx?kernels=2")
    assert submit(backend, {"x": ROWS}).reply.provenance.device == "hls4ml-ku115 with kernels=2"
    assert said == []


def test_without_any_device_it_takes_a_published_one_and_says_so(open_backend, dense, said):
    backend = open_backend(f"fpga:{dense.path}")
    assert submit(backend, {"x": ROWS}).reply.provenance.device == "hls4ml-vu9p"
    assert len(said) == 1
    assert "names no device: its times are those of hls4ml-vu9p" in said[0]
    assert "device=" in said[0]


def test_a_device_of_ones_own(open_backend, dense, tmp_path):
    file = tmp_path / "board.yaml"
    file.write_text("title: mine\nlatency_s: 2e-3\ninitiation_interval_s: 1e-3\n")
    backend = open_backend(f"fpga:{dense.path}?device={file}")
    reply = submit(backend, {"x": ROWS}).reply
    assert reply.times.device_ns == 5_000_000
    assert reply.provenance.device == "board.yaml"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("device=hls4ml-vu9", r"there is no device 'hls4ml-vu9'; did you mean 'hls4ml-vu9p'"),
        ("pace=fast", "pace must be one of asap, device"),
        ("device=hls4ml-vu9p&device_count=2", "there is no option 'device_count'; did you mean"),
        ("device=hls4ml-vu9p&devices=0", "devices: input should be greater than or equal to 1, not '0'"),
        ("threads=x", "threads must be a whole number"),
    ],
)
def test_a_wrong_url_is_told_with_the_configuration(dense, options, message):
    with pytest.raises(ValueError, match=message):
        Backend.from_configuration(f"fpga:{dense.path}?{options}")


def test_an_url_without_model():
    with pytest.raises(ValueError, match="names no model"):
        Backend.from_configuration("fpga:")


def test_a_model_without_card_is_none_of_its_models(open_backend, tmp_path):
    write_model(tmp_path / "m.onnx", card=False)
    with pytest.raises(ConfigurationError, match=r"evtfw emulate convert .*m\.onnx --format"):
        open_backend(f"fpga:{tmp_path}/m.onnx")


def test_an_ordinary_card_is_not_enough(open_backend, tmp_path):
    write_model(tmp_path / "m.onnx", card=False)
    (tmp_path / "m.json").write_text('{"name": "m"}')
    with pytest.raises(ConfigurationError, match=r"computes in floating point.*evtfw emulate convert"):
        open_backend(f"fpga:{tmp_path}/m.onnx")


def test_a_missing_model_names_the_scheme(open_backend):
    with pytest.raises(ConfigurationError, match=r"there is no model 'fpga:topta'; did you mean 'toptag"):
        open_backend("fpga:topta")


def test_shipped_models_are_found_by_the_name_of_the_float_one(monkeypatch, tmp_path):
    import evtfw.data
    from evtfw.external.emulator.finding import find_emulated

    def path(name):
        if not (tmp_path / name).is_file():
            raise FileNotFoundError(name)
        return tmp_path / name

    (tmp_path / "toptag.onnx").touch()
    monkeypatch.setattr(evtfw.data, "path", path)
    assert find_emulated("toptag").name == "toptag.onnx"
    (tmp_path / "toptag_fpga.onnx").touch()
    assert find_emulated("toptag").name == "toptag_fpga.onnx"


def test_it_stands_in_for_a_service_that_is_not_there(open_backend, dense, said):
    url = f"fpga:{dense.path}?device=hls4ml-vu9p"
    backend = open_backend(fallback("mock:dense?open=fail", url, f"cpu:{dense.path}"))
    reply = submit(backend, {"x": ROWS}).reply
    assert reply.provenance.backend == url
    assert "not reachable" in reply.provenance.fallback_reason
    assert reply.times.device_ns > 0
    assert any("using FPGA emulation of 'dense'" in line for line in said)


def test_a_callback_that_raises_does_not_stop_the_pace(dense, monkeypatch):
    clock = VirtualClock()
    backend = opened(dense.path, SLOW, clock)
    hooked = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    def bad(reply, error):
        raise RuntimeError("in the callback")

    backend.submit({"x": ROWS}, CallbackCompletion(bad))
    outcome = submit(backend, {"x": ROWS})
    run(clock)
    assert outcome.reply["y"].shape == (4, 2)
    assert len(hooked) == 1
