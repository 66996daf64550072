"""Shared memory with a real tritonserver."""

import os
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc

from evtfw.external.triton.backend import TritonClient
from evtfw.external.triton.options import TritonOptions
from evtfw.external.triton.regions import abandoned
from tests.external.triton.test_tritonserver import ask, context_for
from tests.peers.tritonserver import real_tritonserver

LARGE = np.random.default_rng(3).random(150_528, np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with real_tritonserver(tmp_path_factory.mktemp("triton"), models=["echo", "toptag"]) as server:
        yield server


def open_client(server, model="echo", said=None, **options):
    client = TritonClient(server.grpc_address, model, triton=TritonOptions(shm="on", **options))
    client.open(context_for([] if said is None else said))
    return client


def regions_of(server):
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        return set(client.get_system_shared_memory_status().regions)


def test_values_come_back_and_nothing_is_left_behind(server):
    client = open_client(server, shm_slots=2)
    assert len(regions_of(server)) == 1
    arrays = [LARGE * number for number in range(20)]
    outcomes = [ask(client, {"x": array}) for array in arrays]
    for array, outcome in zip(arrays, outcomes, strict=True):
        np.testing.assert_array_equal(outcome.reply["y"], array)
    assert not list(Path("/dev/shm").glob(f"evtfw_*_{os.getpid()}_*"))
    client.close()
    assert not regions_of(server)


def test_large_inputs_with_small_outputs(server):
    images = LARGE[: 16 * 4096].reshape(16, 64, 64, 1)
    shared, plain = open_client(server, "toptag"), TritonClient(server.grpc_address, "toptag")
    plain.open(context_for([]))
    np.testing.assert_allclose(
        ask(shared, {"image": images}).reply["probability"], ask(plain, {"image": images}).reply["probability"]
    )
    shared.close()
    plain.close()


def test_small_and_too_large_requests_go_by_messages(server):
    client = open_client(server, shm_bytes=100_000)
    for size in (1, 24_000, 30_000):
        np.testing.assert_array_equal(ask(client, {"x": LARGE[:size]}).reply["y"], LARGE[:size])
    client.close()


def test_a_server_that_was_started_anew_gets_messages(tmp_path):
    said = []
    with real_tritonserver(tmp_path, models=["echo"]) as server:
        client = open_client(server, said=said)
        server.restart()
        outcome = ask(client, {"x": LARGE})
        while outcome.error is not None:
            outcome = ask(client, {"x": LARGE})
        np.testing.assert_array_equal(outcome.reply["y"], LARGE)
        client.close()
    assert len([line for line in said if "no shared memory with the server" in line]) == 1


def test_regions_of_dead_processes_are_found():
    namespace = "".join(c for c in str(Path("/proc/self/ns/pid").readlink()) if c.isdigit())
    dead = f"evtfw_{namespace}_4194305_0"  # above the largest process number
    assert abandoned([dead, f"evtfw_{namespace}_{os.getpid()}_0", "evtfw_1_4194305_0", "other"]) == [dead]
