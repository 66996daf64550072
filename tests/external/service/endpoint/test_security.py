"""Tokens, certificates and addresses (row 49)."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from evtfw.core.clock import RealClock
from evtfw.core.errors import ConfigurationError, ExternalError, ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend
from evtfw.external.service.endpoint import Security
from evtfw.external.service.endpoint.security import check_address
from tests.external.certificates import make_certificates
from tests.external.conftest import submit
from tests.external.service.endpoint.conftest import LIMIT_S, client_of, serving, tensor, values

METHODS = ("ServerLive", "ModelInfer", "ModelStreamInfer", "NoSuchMethod", "SystemSharedMemoryRegister")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("keys"))


def code_of(endpoint, method, metadata):
    with grpc.insecure_channel(endpoint.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(b"", metadata=metadata, timeout=LIMIT_S)
    return caught.value.code().name


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        [("authorization", "")],
        [("authorization", "Bearer wrong")],
        [("authorization", "Bearer secret2")],
        [("authorization", "secret")],
        [("authorization", "Bearer secret"), ("authorization", "Bearer secret")],
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_every_call_needs_the_token(token_endpoint, method, metadata):
    assert code_of(token_endpoint, method, metadata) == "UNAUTHENTICATED"


@pytest.fixture(scope="module")
def token_endpoint():
    with serving(security=Security(token="secret")) as endpoint:
        yield endpoint


def test_the_token_opens(token_endpoint):
    with client_of(token_endpoint) as client:
        client.infer("rows", [tensor(values())], headers={"authorization": "Bearer secret"}, client_timeout=LIMIT_S)


def test_the_token_is_not_shown():
    assert "secret" not in repr(Security(token="secret"))


def ask(endpoint, root, client=None):
    options = {"ssl": True, "root_certificates": str(root)}
    if client is not None:
        options |= {"private_key": str(client.with_suffix(".key")), "certificate_chain": str(client)}
    with client_of(endpoint, **options) as connected:
        return connected.is_server_live(client_timeout=3.0)


def is_refused(*arguments):
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as caught:
        ask(*arguments)
    return caught.value.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")


def test_tls(keys):
    security = Security(str(keys / "server.pem"), str(keys / "server.key"))
    with serving(security=security) as endpoint:
        assert ask(endpoint, keys / "authority.pem")
        assert is_refused(endpoint, keys / "stranger.pem")
        assert ask(endpoint, keys / "authority.pem")


def test_client_certificates(keys):
    security = Security(str(keys / "server.pem"), str(keys / "server.key"), str(keys / "authority.pem"))
    with serving(security=security) as endpoint:
        assert ask(endpoint, keys / "authority.pem", keys / "client.pem")
        assert is_refused(endpoint, keys / "authority.pem")
        assert is_refused(endpoint, keys / "authority.pem", keys / "stranger.pem")
        assert ask(endpoint, keys / "authority.pem", keys / "client.pem")


def remote(endpoint, options):
    """What becomes of a request of evtfw's own client."""
    backend = Backend.from_configuration(f"triton+grpcs://{endpoint.address}/rows?connect_timeout_s=3&{options}")
    backend.open(JobContext(RealClock(), threads=1, streams=1, say=print))
    try:
        return submit(backend, {"x": np.ones((2, 4), np.float32)}).reply["y"].tolist()
    finally:
        backend.close()


def test_the_frameworks_own_client_with_certificates_and_a_token(keys):
    files = [str(keys / name) for name in ("server.pem", "server.key", "authority.pem")]
    client = f"cert_file={keys / 'client.pem'}&key_file={keys / 'client.key'}"
    authority = f"ca_file={keys / 'authority.pem'}"
    with serving(security=Security(*files, token="secret")) as endpoint:
        assert remote(endpoint, f"{authority}&{client}&token=secret") == [[2.0] * 4] * 2
        for wrong in (f"{authority}&token=secret", f"ca_file={keys / 'stranger.pem'}&{client}&token=secret"):
            with pytest.raises(ServerUnavailable):
                remote(endpoint, wrong)
        with pytest.raises(ExternalError, match="token"):
            remote(endpoint, f"{authority}&{client}&token=wrong")


@pytest.mark.parametrize("address", ["0.0.0.0:8001", "[::]:8001", "host.example:8001", "192.168.0.1:8001", ":8001"])
def test_other_addresses_need_tls_and_a_token(keys, address):
    tls = {"certificate_file": str(keys / "server.pem"), "key_file": str(keys / "server.key")}
    for security in (Security(), Security(token="t"), Security(**tls)):
        with pytest.raises(ConfigurationError, match="--insecure"):
            check_address(address, security)
    check_address(address, Security(**tls, token="t"))
    check_address(address, Security(), is_insecure_allowed=True)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/socket"])
def test_addresses_of_this_machine(address):
    check_address(address, Security())


def test_mistakes_in_the_configuration(keys, tmp_path):
    with pytest.raises(ConfigurationError, match="both"):
        Security(certificate_file="x")
    with pytest.raises(ConfigurationError, match="need TLS"):
        Security(client_ca_file="x")
    with pytest.raises(ConfigurationError, match="printable"):
        Security(token="a\nb")
    with (
        pytest.raises(ConfigurationError, match="cannot read the key file"),
        serving(security=Security(str(keys / "server.pem"), str(tmp_path / "none"))),
    ):
        pass
    with (
        pytest.raises(ConfigurationError, match="cannot listen"),
        serving(security=Security(str(keys / "server.pem"), str(keys / "server.pem"))),
    ):
        pass
    with (
        serving() as endpoint,
        pytest.raises(ConfigurationError, match="cannot listen"),
        serving(address=endpoint.address),
    ):
        pass
