"""Against a real mlserver: the same protocol from other hands, without ModelConfig, and with typed contents."""

from __future__ import annotations

import time

import numpy as np
import pytest

from evtfw import data
from evtfw.core.clock import RealClock
from evtfw.core.errors import BadRequest
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend
from evtfw.external.errors import ModelNotFound
from evtfw.external.onnx_model import OnnxModel, SessionSettings
from evtfw.external.triton.backend import TritonClient
from tests.external.conftest import submit
from tests.peers.mlserver import real_mlserver

DEADLINE_S = 20
IMAGES = np.random.default_rng(1).random((5, 64, 64, 1), np.float32)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with real_mlserver(tmp_path_factory.mktemp("mlserver")) as address:
        yield address


@pytest.fixture(scope="module")
def scores():
    return OnnxModel(data.path("toptag.onnx"), SessionSettings(1)).run({"image": IMAGES})["probability"]


@pytest.fixture
def opened():
    made = []

    def open_one(backend):
        backend.open(JobContext(clock=RealClock(), threads=2, streams=8, say=print))
        made.append(backend)
        return backend

    yield open_one
    for backend in made:
        backend.close()


def ask(client, inputs):
    return submit(client, inputs, deadline_ns=time.monotonic_ns() + DEADLINE_S * 10**9)


def test_scores_are_those_of_the_embedded_model(opened, address, scores):
    reply = ask(opened(TritonClient(address, "toptag")), {"image": IMAGES}).reply
    np.testing.assert_allclose(reply["probability"], scores, rtol=1e-5, atol=1e-7)
    assert reply["probability"].dtype == np.float32
    assert (reply.provenance.model, reply.provenance.version) == ("toptag", "v1")


def test_the_description_is_the_servers(opened, address):
    description = opened(TritonClient(address, "toptag")).describe()
    assert [str(spec) for spec in description.inputs] == ["image: float32 [?, 64, 64, 1]"]
    assert [str(spec) for spec in description.outputs] == ["probability: float32 [?, 2]"]


def test_an_url_with_batcher_and_router_serves_many_at_once(opened, address, scores):
    backend = opened(Backend.from_configuration(f"triton+grpc://{address}/toptag"))
    outcomes = [ask(backend, {"image": IMAGES[number % 5 : number % 5 + 1]}) for number in range(40)]
    for number, outcome in enumerate(outcomes):
        np.testing.assert_allclose(outcome.reply["probability"][0], scores[number % 5], rtol=1e-5, atol=1e-7)


def test_what_does_not_fit_is_refused_and_the_next_is_served(opened, address):
    client = opened(TritonClient(address, "toptag"))
    with pytest.raises(BadRequest):
        _ = ask(client, {"image": IMAGES[:, :32]}).reply
    assert ask(client, {"image": IMAGES}).reply["probability"].shape == (5, 2)


@pytest.mark.parametrize("words", [("toptga",), ("toptag", "v7")])
def test_an_unknown_model_or_version_is_named(opened, address, words):
    with pytest.raises(ModelNotFound, match=words[-1]):
        opened(TritonClient(address, *words))
