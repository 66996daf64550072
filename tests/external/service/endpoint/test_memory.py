"""How much memory hostile clients can take, measured on a process of its own (rows 41, 45 and 46)."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import grpc
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton

from tests.external.service.endpoint.conftest import LIMIT_S, tensor, unpacks_within_limits
from tests.external.service.endpoint.raw_http2 import RawConnection
from tests.external.service.wire.messages import request

INFER = "/inference.GRPCInferenceService/ModelInfer"
MEGABYTE = 1 << 20
SERVICE = """
import sys, threading
from evtfw.external.service.endpoint import Endpoint
from evtfw.external.service.model import HostedModel
from evtfw.external.service.service import Service
from evtfw.external.service.wire.limits import Limits
from evtfw.external.urls import make_backend
model = HostedModel("echo", make_backend("mock:echo?inputs=x:float32[?,262144]&outputs=y:float32[?,262144]"))
limits = Limits(message_bytes=8 << 20, in_flight_bytes=16 << 20, receive_s=60.0, crowded_s=0.5)
with Service([model]) as service, Endpoint(service, limits=limits) as endpoint:
    print(endpoint.address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def served():
    """A service that takes requests of 8 MB, and 16 MB of them at the same time: its process and address."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield psutil.Process(process.pid), process.stdout.readline().strip()
        finally:
            process.kill()


@contextlib.contextmanager
def growth_of(process):
    """Give a function that says by how many MB the process has grown since."""
    before = process.memory_info().rss
    yield lambda: (process.memory_info().rss - before) / MEGABYTE


def image(rows):
    return np.ones((rows, 262144), np.float32)


def message(rows):
    return request({"x": image(rows)}, model="echo").SerializeToString()


def is_served(address):
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live(client_timeout=LIMIT_S)
        result = client.infer("echo", [tensor(image(1))], client_timeout=LIMIT_S)
        return bool((result.as_numpy("y") == 0).all())


def test_replies_that_nobody_reads_count_as_in_flight(served):
    process, address = served
    assert is_served(address)
    with growth_of(process) as grown_mb, RawConnection(address) as client:
        for _ in range(120):
            client.call(INFER, message(1))
        assert client.work(lambda: client.has_sent_all and len(client.ended) >= 105, 3 * LIMIT_S)
        assert len(client.ended) == 105  # fifteen were taken, and wait for their reader
        assert client.arrived == 0
        assert grown_mb() < 200
    assert is_served(address)


def test_half_sent_messages_are_given_up_soon_if_there_are_many(served):
    process, address = served
    assert is_served(address)
    grown = []
    with growth_of(process) as grown_mb:
        for _ in range(4):
            with RawConnection(address) as client:
                for _ in range(60):
                    client.call(INFER, message(2), missing=100)
                assert client.work(lambda: len(client.ended) == 60 - 16, 3 * LIMIT_S)
                assert client.work(lambda: client.has_sent_all, 3 * LIMIT_S)
                assert is_served(address)
            grown.append(grown_mb())
    assert grown[-1] < 1.5 * max(grown[:2]) + 20


@unpacks_within_limits
def test_bombs_are_not_unpacked_beyond_the_largest_message(served):
    process, address = served
    assert is_served(address)
    with growth_of(process) as grown_mb, grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(INFER)
        for _ in range(3):
            calls = [infer.future(bytes(size << 20), compression=grpc.Compression.Gzip) for size in (9, 250)]
            assert {call.code() for call in calls} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert grown_mb() < 100
    assert is_served(address)
