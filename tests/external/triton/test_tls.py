"""Our client over TLS: to a real tritonserver that asks for certificates, and to the command ``evtfw serve``."""

from __future__ import annotations

import contextlib
import subprocess
import time

import grpc
import numpy as np
import pytest

from evtfw.core.clock import RealClock
from evtfw.core.errors import ExternalError, ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend
from tests.conftest import evtfw_command
from tests.external.certificates import make_certificates
from tests.external.conftest import submit
from tests.peers.tritonserver import real_tritonserver

DEADLINE_S = 20
VALUES = np.arange(7, dtype=np.float32)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def tritonserver(tmp_path_factory, keys):
    """The real one; it asks clients for a certificate of the authority."""
    files = {name: keys / name for name in ("authority.pem", "server.pem", "server.key", "client.pem", "client.key")}
    words = [
        *("--grpc-use-ssl-mutual=true", f"--grpc-server-cert={files['server.pem']}"),
        *(f"--grpc-server-key={files['server.key']}", f"--grpc-root-cert={files['authority.pem']}"),
    ]
    mine = [files[name].read_bytes() for name in ("authority.pem", "client.key", "client.pem")]
    credentials = grpc.ssl_channel_credentials(*mine)
    folder = tmp_path_factory.mktemp("triton")
    with real_tritonserver(folder, models=["echo"], words=words, credentials=credentials) as server:
        yield server.grpc_address


@pytest.fixture(scope="module")
def served(tmp_path_factory, keys):
    """``evtfw serve`` with TLS, client certificates and a token."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "token").write_text("secret\n")
    url = "mock:echo?inputs=x:float32[?,1]&outputs=y:float32[?,1]"
    words = [
        *("serve", "--grpc", "127.0.0.1:0", "--model", f"echo={url}", "--token-file", "token"),
        *("--tls-cert", keys / "server.pem", "--tls-key", keys / "server.key"),
        *("--tls-client-ca", keys / "authority.pem"),
    ]
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(
            [*evtfw_command(), *map(str, words)], cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            assert line.startswith("serving gRPC on "), (folder / "errors").read_text()
            yield line.split()[-1]
        finally:
            process.terminate()


@contextlib.contextmanager
def opened(address, *options, scheme="triton+grpcs"):
    backend = Backend.from_configuration(f"{scheme}://{address}/echo?{'&'.join(('connect_timeout_s=3', *options))}")
    try:
        backend.open(JobContext(RealClock(), threads=1, streams=4, say=print))
        yield backend
    finally:
        backend.close()


def ask(backend, values):
    return submit(backend, {"x": values}, deadline_ns=time.monotonic_ns() + DEADLINE_S * 10**9)


def certificate(keys, name):
    return f"cert_file={keys / name}.pem", f"key_file={keys / name}.key"


def authority(keys, name="authority"):
    return f"ca_file={keys / name}.pem"


def test_a_tritonserver_with_client_certificates(tritonserver, keys):
    with opened(tritonserver, authority(keys), *certificate(keys, "client")) as backend:
        outcomes = [ask(backend, VALUES + number) for number in range(50)]
        for number, outcome in enumerate(outcomes):
            np.testing.assert_array_equal(outcome.reply["y"], VALUES + number)


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_a_tritonserver_takes_no_other_clients(tritonserver, keys, who):
    mine = certificate(keys, who) if who != "nobody" else ()
    with pytest.raises(ServerUnavailable), opened(tritonserver, authority(keys), *mine):
        pass


def test_a_tritonserver_that_another_authority_vouches_for_is_not_used(tritonserver, keys):
    with (
        pytest.raises(ServerUnavailable),
        opened(tritonserver, authority(keys, "stranger"), *certificate(keys, "client")),
    ):
        pass


@pytest.mark.parametrize("name", ["tritonserver", "served"])
def test_without_encryption_nothing_is_said(request, name):
    with pytest.raises(ServerUnavailable), opened(request.getfixturevalue(name), scheme="triton+grpc"):
        pass


def test_evtfw_serve_with_client_certificates_and_a_token(served, keys, tmp_path):
    (tmp_path / "token").write_text("secret")
    token = f"token_file={tmp_path / 'token'}"
    column = VALUES.reshape(-1, 1)
    with opened(served, authority(keys), *certificate(keys, "client"), token) as backend:
        assert ask(backend, column).reply["y"].shape == column.shape
    with pytest.raises(ServerUnavailable), opened(served, authority(keys), token):
        pass
    with (
        pytest.raises(ExternalError, match="token"),
        opened(served, authority(keys), *certificate(keys, "client"), "token=wrong"),
    ):
        pass
