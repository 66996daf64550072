"""System shared memory: off unless allowed, bounded when it is (row 43)."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from evtfw.external.service.endpoint.regions import FOLDER
from tests.external.service.endpoint.conftest import LIMIT_S, ByHand, client_of, serving, tensor, values

SIZE = 64


@pytest.fixture
def client():
    with serving(shared_memory=True) as endpoint, client_of(endpoint) as connected:
        yield connected


@pytest.fixture
def key():
    name = f"/evtfw-test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region("mine", name, SIZE)
    shm.set_shared_memory_region(handle, [values()])
    yield name, handle
    with contextlib.suppress(FileNotFoundError):
        shm.destroy_shared_memory_region(handle)


def in_region(size=32, offset=0, region="mine"):
    given = triton.InferInput("x", [2, 4], "FP32")
    given.set_shared_memory(region, size, offset)
    return given


def refused(call, *says):
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert all(part in caught.value.message() for part in says)
    assert "evtfw-test" not in caught.value.message()
    assert FOLDER not in caught.value.message()


def test_tensors_in_shared_memory(client, key):
    name, handle = key
    client.register_system_shared_memory("mine", name, SIZE)
    assert "system_shared_memory" in client.get_server_metadata().extensions
    assert client.get_system_shared_memory_status().regions["mine"].byte_size == SIZE
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory("mine", 32, 32)
    result = client.infer("rows", [in_region()], outputs=[output, triton.InferRequestedOutput("sum")])
    assert result.get_output("y").parameters["shared_memory_offset"].int64_param == 32
    np.testing.assert_array_equal(shm.get_contents_as_numpy(handle, np.float32, [2, 4], 32), 2 * values())
    np.testing.assert_array_equal(result.as_numpy("sum"), values().sum(axis=1))
    client.unregister_system_shared_memory("mine")
    refused(lambda: client.infer("rows", [in_region()]), "no shared-memory region 'mine'")


@pytest.mark.parametrize(
    ("size", "offset"), [(SIZE + 1, 0), (1, SIZE), (2**63, 0), (2**64 - 1, 2**64 - 1), (0, 0), (32, 2**63)]
)
def test_regions_that_do_not_fit_their_object(client, key, size, offset):
    refused(lambda: client.register_system_shared_memory("mine", key[0], size, offset), "region 'mine'")


@pytest.mark.parametrize("name", ["/../etc/passwd", "..", "a/b", "/", "", "a\0b", "/.hidden", "/dev/shm/x"])
def test_keys_that_are_none(client, name):
    refused(lambda: client.register_system_shared_memory("mine", name, 8), "no key of shared memory")


def test_objects_that_are_not_there_or_are_links(client, tmp_path):
    refused(lambda: client.register_system_shared_memory("mine", "/evtfw-test-none", 8), "cannot be opened")
    link = Path(FOLDER) / f"evtfw-test-{uuid.uuid4().hex}"
    (tmp_path / "secret").write_bytes(bytes(SIZE))
    link.symlink_to(tmp_path / "secret")
    try:
        refused(lambda: client.register_system_shared_memory("mine", link.name, 8), "cannot be opened")
    finally:
        link.unlink()


def test_a_name_is_registered_once(client, key):
    client.register_system_shared_memory("mine", key[0], SIZE)
    refused(lambda: client.register_system_shared_memory("mine", key[0], SIZE), "registered already")


@pytest.mark.parametrize(("size", "offset"), [(32, 33), (32, 2**62), (31, 0), (33, 0)])
def test_ranges_outside_of_their_region(client, key, size, offset):
    client.register_system_shared_memory("mine", key[0], SIZE)
    refused(lambda: client.infer("rows", [in_region(size, offset)]))


def test_an_output_that_does_not_fit(client, key):
    client.register_system_shared_memory("mine", key[0], SIZE)
    for size, offset in ((31, 0), (32, 40)):
        output = triton.InferRequestedOutput("y")
        output.set_shared_memory("mine", size, offset)
        refused(lambda output=output: client.infer("rows", [in_region()], outputs=[output]))


def test_an_object_that_shrinks_does_not_kill_the_service(client, key):
    client.register_system_shared_memory("mine", key[0], SIZE)
    os.truncate(FOLDER + key[0], 0)
    refused(lambda: client.infer("rows", [in_region()]), "shorter")
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory("mine", 32, 0)
    refused(lambda: client.infer("rows", [tensor(values())], outputs=[output]), "shorter")
    os.truncate(FOLDER + key[0], SIZE)
    assert client.infer("rows", [in_region()], client_timeout=LIMIT_S).as_numpy("y").shape == (2, 4)


def test_a_region_in_use_stays_until_its_requests_end(key):
    import queue

    backend, results = ByHand(), queue.SimpleQueue()
    with serving(backend, shared_memory=True) as endpoint, client_of(endpoint) as client:
        client.register_system_shared_memory("mine", key[0], SIZE)
        output = triton.InferRequestedOutput("y")
        output.set_shared_memory("mine", 32, 32)
        client.async_infer("rows", [in_region()], lambda result, error: results.put(error), outputs=[output])
        pending = backend.next()
        client.unregister_system_shared_memory()
        pending.resolve()
        assert results.get(timeout=LIMIT_S) is None
        np.testing.assert_array_equal(shm.get_contents_as_numpy(key[1], np.float32, [2, 4], 32), 2 * values())
