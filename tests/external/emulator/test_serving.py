"""An emulated device behind a service: a real tritonclient gets the bits, evtfw's client the modelled time too."""

import contextlib
import threading

import numpy as np
import pytest
import tritonclient.grpc as triton

from evtfw.core.clock import RealClock
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend
from evtfw.external.service.endpoint import Endpoint
from evtfw.external.service.model import HostedModel
from evtfw.external.service.service import Service
from tests.external.conftest import submit
from tests.external.emulator.device.queueing import write_model

X = np.random.default_rng(2).integers(-99, 99, (7, 3)).astype(np.float32)


@pytest.fixture(params=["asap", "device"])
def served(request, tmp_path):
    weight = write_model(tmp_path / "dense.onnx")
    device = "hls4ml-vu9p&latency_s=0.3&initiation_interval_s=0.02"
    url = f"fpga:{tmp_path}/dense.onnx?device={device}&pace={request.param}"
    model = HostedModel("jets", Backend.from_configuration(url))
    with Service([model]) as service, Endpoint(service) as endpoint:
        yield endpoint, X @ weight, request.param


def test_tritonclient_gets_the_same_bits(served):
    endpoint, expected, pace = served
    with contextlib.closing(triton.InferenceServerClient(endpoint.address)) as client:
        assert client.is_model_ready("jets")
        tensor = triton.InferInput("x", X.shape, "FP32")
        tensor.set_data_from_numpy(X)
        result = client.infer("jets", [tensor])
        assert result.as_numpy("y").tolist() == expected.tolist()
        parameters = result.get_response().parameters
        assert parameters["device_ns"].int64_param == 420_000_000
        assert (parameters["held_us"].int64_param > 0) == (pace == "device")
        (statistics,) = client.get_inference_statistics("jets").model_stats
    assert statistics.inference_stats.compute_infer.ns < 420_000_000, "statistics are of this machine's time"


def test_a_job_far_away_learns_the_modelled_time(served):
    endpoint, expected, pace = served
    client = Backend.from_configuration(f"triton+grpc://{endpoint.address}/jets")
    client.open(JobContext(RealClock(), 1, 4, lambda line: None))
    outcomes = [submit(client, {"x": X}) for _ in range(2)]
    replies = [outcome.reply for outcome in outcomes]
    client.close()
    for reply in replies:
        assert reply["y"].tolist() == expected.tolist()
        assert reply.times.device_ns == 420_000_000
        assert (reply.times.held_ns > 0) == (pace == "device")


def test_the_service_keeps_the_pipeline_full(tmp_path):
    """The queue is before the device, where it is modelled, and not before the service."""
    write_model(tmp_path / "dense.onnx")
    url = f"fpga:{tmp_path}/dense.onnx?device=hls4ml-vu9p&latency_s=0.2&initiation_interval_s=0.02&pace=device"
    model = HostedModel("jets", Backend.from_configuration(url))
    with Service([model]):
        assert model.backend.slots == 10
        ended = threading.Barrier(11, timeout=30)
        replies = []

        class Client(threading.Thread):
            def run(self):
                from tests.external.conftest import Outcome

                outcome = Outcome()
                model.submit({"x": X[:1]}, outcome.done)
                replies.append(outcome.reply)
                ended.wait()

        for _ in range(10):
            Client().start()
        ended.wait()
    queues_s = sorted(reply.times.device_queue_ns * 1e-9 for reply in replies)
    assert queues_s[-1] <= 0.02 * 9 + 1e-6
    assert all(reply.times.device_ns == 200_000_000 for reply in replies)
