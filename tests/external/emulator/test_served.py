"""Emulated models behind ``evtfw serve``: a real client of Triton gets the same bits as a job that emulates itself."""

import subprocess

import numpy as np
import pytest
import tritonclient.grpc as triton

from evtfw.core.clock import RealClock
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend
from tests.conftest import evtfw_command
from tests.external.conftest import submit

MODELS = {"l1jets": "fpga:l1jets_q6", "l1trees": "fpga:l1jets_trees", "paced": "fpga:l1jets_q6?pace=device"}
ROWS = 250


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the command serves all models; it ends with the tests."""
    words = [word for name, url in MODELS.items() for word in ("--model", f"{name}={url}")]
    command = [*evtfw_command(), "serve", "--grpc", "127.0.0.1:0", *words]
    folder = tmp_path_factory.mktemp("served")
    with (
        (folder / "stderr").open("w+") as errors,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        line = process.stdout.readline()
        assert line.startswith("serving gRPC on "), (line, (folder / "stderr").read_text())
        yield line.split()[-1]
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def client(address):
    with triton.InferenceServerClient(address) as client:
        yield client


def typical_and_adversarial(seed):
    """Standardised features, some beyond every range, some at ties of the rounding."""
    random = np.random.default_rng(seed)
    rows = random.normal(0, 1, (ROWS, 16)).astype(np.float32)
    rows[::5] *= 100.0
    rows[1::5] = (random.integers(-4096, 4096, (len(rows[1::5]), 16)) + 0.5) / 1024
    rows[2] = np.finfo(np.float32).min
    rows[3] = np.finfo(np.float32).max
    return rows


def emulated_here(url, rows):
    backend = Backend.from_configuration(url)
    backend.open(JobContext(RealClock(), 1, 1, lambda line: None))
    try:
        return submit(backend, {"features": rows}).reply.outputs
    finally:
        backend.close()


def asked(client, name, rows):
    tensor = triton.InferInput("features", rows.shape, "FP32")
    tensor.set_data_from_numpy(rows)
    return client.infer(name, [tensor])


@pytest.mark.parametrize("name", MODELS)
def test_a_triton_client_gets_the_bits_of_the_emulator(client, name):
    rows = typical_and_adversarial(seed=1)
    wanted = emulated_here(MODELS[name], rows)
    assert len(np.unique(next(iter(wanted.values())))) > 50
    for reply in (asked(client, name, rows), asked(client, name, rows)):
        for output, values in wanted.items():
            found = reply.as_numpy(output)
            assert (found.dtype, found.shape) == (values.dtype, values.shape)
            assert found.tobytes() == values.tobytes()


def test_one_row_at_a_time_gives_the_same_bits_as_all_at_once(client):
    rows = typical_and_adversarial(seed=2)[:20]
    whole = asked(client, "l1jets", rows).as_numpy("probability")
    single = [asked(client, "l1jets", rows[i : i + 1]).as_numpy("probability") for i in range(len(rows))]
    assert np.concatenate(single).tobytes() == whole.tobytes()


def test_the_service_says_what_is_emulated(client):
    metadata = client.get_model_metadata("l1jets")
    assert metadata.platform == "fpga-emulation"
    assert [tensor.name for tensor in metadata.inputs] == ["features"]


def test_what_no_format_can_hold_is_refused(client):
    rows = np.zeros((1, 16), np.float32)
    rows[0, 3] = np.nan
    with pytest.raises(triton.InferenceServerException, match=r"INVALID_ARGUMENT.*NaN or infinity in features"):
        asked(client, "l1jets", rows)
