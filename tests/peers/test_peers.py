import re

import numpy as np
import tritonclient.grpc

from evtfw import data
from evtfw.external.onnx_model import OnnxModel, SessionSettings
from tests.peers.mlserver import real_mlserver
from tests.peers.perf_analyzer import run_perf_analyzer
from tests.peers.tritonserver import real_tritonserver

IMAGES = np.random.default_rng(1).random((3, 64, 64, 1), np.float32)


def scores_of(address):
    images = tritonclient.grpc.InferInput("image", IMAGES.shape, "FP32")
    images.set_data_from_numpy(IMAGES)
    with tritonclient.grpc.InferenceServerClient(address) as client:
        return client.infer("toptag", [images]).as_numpy("probability")


def expected_scores():
    model = OnnxModel(data.path("toptag.onnx"), SessionSettings(1))
    return model.run({"image": IMAGES})["probability"]


def test_tritonserver_computes_the_shipped_model_also_after_a_restart_on_the_same_port(tmp_path):
    with real_tritonserver(tmp_path) as server:
        np.testing.assert_allclose(scores_of(server.grpc_address), expected_scores(), rtol=1e-5)
        server.kill()
        assert server.process.poll() is not None
        server.restart()
        np.testing.assert_allclose(scores_of(server.grpc_address), expected_scores(), rtol=1e-5)


def test_perf_analyzer_measures_tritonserver(tmp_path):
    with real_tritonserver(tmp_path, models=["echo"]) as server:
        words = ("--shape", "x:16", "--measurement-mode", "count_windows", "--measurement-request-count", "50")
        done = run_perf_analyzer("echo", server.grpc_address, *words, "-s", "90", "-r", "3")
        assert re.search(r"Throughput: [1-9]", done.stdout), done.stdout + done.stderr


def test_mlserver_computes_the_shipped_model(tmp_path):
    with real_mlserver(tmp_path) as address:
        np.testing.assert_allclose(scores_of(address), expected_scores(), rtol=1e-5)
