"""Servers and backends that the tests of faults share."""

import dataclasses

import numpy as np
import pytest

from evtfw.external.contract import ModelDescription, TensorSpec
from evtfw.external.mock import MockBackend
from tests.faults.liar import Liar
from tests.faults.proxy import Proxy

DOUBLE = ModelDescription(
    "double",
    inputs=(TensorSpec("x", np.dtype("float32"), (None, 4)),),
    outputs=(TensorSpec("y", np.dtype("float32"), (None, 4)),),
    max_batch_size=None,
)


def double(inputs):
    """What the model does."""
    return {"y": 2 * inputs["x"]}


def local_double(answer=double, *, sha256="", url="mock:double"):
    """The model ``double`` in memory, to fall back to."""
    return MockBackend(answer, description=dataclasses.replace(DOUBLE, sha256=sha256), url=url)


def url_of(*servers, model="double", options=""):
    """The backend URL of a model on several servers."""
    addresses = ",".join(server.address for server in servers)
    return f"triton+grpc://{addresses}/{model}{f'?{options}' if options else ''}"


@pytest.fixture
def liar():
    with Liar() as liar:
        yield liar


@pytest.fixture
def other():
    """A second server, honest unless told otherwise."""
    with Liar() as liar:
        yield liar


@pytest.fixture
def proxied(liar):
    """A proxy before `liar`."""
    with Proxy(liar.address) as proxy:
        yield proxy
