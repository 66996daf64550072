"""Services of small models behind real endpoints, and tritonclient's clients to them."""

from __future__ import annotations

import contextlib
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from evtfw.external.contract import ModelDescription, TensorSpec
from evtfw.external.mock import MockBackend
from evtfw.external.service.endpoint import Endpoint
from evtfw.external.service.model import HostedModel
from evtfw.external.service.service import Service
from evtfw.external.service.settings import ServingSettings

LIMIT_S = 20.0
unpacks_within_limits = pytest.mark.skipif(
    tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 84),
    reason="this gRPC may unpack a message before it measures it, so the service takes none that are compressed",
)
FLOAT = np.dtype("float32")
ROWS = ModelDescription(
    "rows",
    inputs=(TensorSpec("x", FLOAT, (None, 4)),),
    outputs=(TensorSpec("y", FLOAT, (None, 4)), TensorSpec("sum", FLOAT, (None,))),
    max_batch_size=None,
)


def double(inputs):
    with np.errstate(all="ignore"):  # fuzzed inputs may be anything
        return {"y": 2 * inputs["x"], "sum": inputs["x"].sum(axis=1)}


class ByHand(MockBackend):
    """A backend whose requests wait until the test answers them; it can wait for them too."""

    def __init__(self, slots=1):
        super().__init__(double, description=ROWS, manual=True, slots=slots, url="cpu:/secret/rows.onnx")
        self._arrived = threading.Semaphore(0)

    def submit(self, request, done):
        super().submit(request, done)
        self._arrived.release()

    def next(self):
        """The oldest request; waits until there is one."""
        while not self.pending:
            assert self._arrived.acquire(timeout=LIMIT_S)
        return self.pending[0]

    def resolve_all(self):
        for pending in list(self.pending):
            pending.resolve()

    def answer_at_once(self):
        """From now on nothing waits; what came meanwhile is answered."""
        self._manual = False
        self.resolve_all()


@contextlib.contextmanager
def serving(*backends, settings=None, **options):
    """An endpoint for models ``rows``, ``rows2``, … with these backends."""
    models = [
        HostedModel(f"rows{number or ''}", backend, settings=settings or ServingSettings())
        for number, backend in enumerate(backends or [MockBackend(double, description=ROWS)])
    ]
    with Service(models) as service, Endpoint(service, **options) as endpoint:
        yield endpoint


@contextlib.contextmanager
def client_of(endpoint, **options):
    with contextlib.closing(triton.InferenceServerClient(endpoint.address, **options)) as client:
        yield client


def tensor(values, name="x"):
    given = triton.InferInput(name, values.shape, "FP32")
    given.set_data_from_numpy(values)
    return given


def values(rows=2, start=0.0):
    return (start + np.arange(rows * 4, dtype=FLOAT)).reshape(rows, 4)


@pytest.fixture
def endpoint():
    with serving() as running:
        yield running


@pytest.fixture
def client(endpoint):
    with client_of(endpoint) as connected:
        yield connected
