"""Connections: shared, secured, and ended with their last user."""

from __future__ import annotations

import subprocess
import sys

import grpc
import pytest

from evtfw.core.errors import ConfigurationError, ServerUnavailable
from evtfw.external.errors import AccessDenied
from evtfw.external.grpc.bridge import bridge
from evtfw.external.grpc.options import KEEPALIVE_MS, GrpcOptions
from evtfw.external.urls import OptionReader, parse_url
from tests.external.conftest import submit
from tests.external.grpc.conftest import Doubler, Server
from tests.external.grpc.test_backend import floats


def test_backends_of_one_server_share_its_connection(server, make):
    first, second, other = make(server.authority), make(server.authority), make(server.authority, max_message_bytes=99)
    assert first._channel is second._channel
    assert first._channel is not other._channel
    first.close()
    assert submit(second, floats(1)).reply["y"].tolist() == [2]
    shared = second._channel
    second.close()
    assert shared.users == 0
    assert shared not in bridge._channels.values()


def test_a_process_that_does_not_close_its_backends_ends_quietly(server):
    script = (
        "import threading\n"
        "from evtfw.core.clock import RealClock\n"
        "from evtfw.core.completion import CallbackCompletion\n"
        "from evtfw.core.resource import JobContext\n"
        "from tests.external.grpc.conftest import Doubler\n"
        "from tests.external.grpc.test_backend import floats\n"
        f"backend = Doubler('{server.authority}', url='test:')\n"
        "backend.open(JobContext(RealClock(), 1, 1, print))\n"
        "ended = threading.Event()\n"
        "backend.submit(floats(1), CallbackCompletion(lambda reply, error: ended.set()))\n"
        "assert ended.wait(20)\n"
        "backend.submit(floats(1), CallbackCompletion(lambda reply, error: None))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_tokens_and_headers_go_with_each_call(server, make):
    backend = make(server.authority, token="secret", headers=(("x-experiment", "demo"),))
    assert submit(backend, floats(1)).reply
    assert server.metadata[0]["authorization"] == "Bearer secret"
    assert server.metadata[0]["x-experiment"] == "demo"
    assert "secret" not in repr(backend.options)


@pytest.fixture
def secured(certificates):
    key, chain, ca = ((certificates / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    server = Server(grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True))
    yield server
    server.stop()


def test_both_sides_show_their_certificates(secured, certificates, make):
    files = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}
    backend = make(secured.authority, tls=True, **{name: str(certificates / file) for name, file in files.items()})
    assert submit(backend, floats(1)).reply["y"].tolist() == [2]


def test_who_cannot_be_trusted_is_refused(secured, certificates, make):
    with pytest.raises(ServerUnavailable):
        make(secured.authority, tls=True)
    with pytest.raises(ServerUnavailable):
        make(secured.authority, tls=True, ca_file=str(certificates / "ca.pem"), connect_timeout_s=2)


def test_files_for_tls_are_read_when_opened(tmp_path, certificates, make):
    with pytest.raises(ConfigurationError, match=r"ca_file: '.*/none\.pem' cannot be read: No such file"):
        make("localhost:1", tls=True, ca_file=str(tmp_path / "none.pem"))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ConfigurationError, match="has no CERTIFICATE in PEM format"):
        make("localhost:1", tls=True, ca_file=str(tmp_path / "text"))
    with pytest.raises(ConfigurationError, match="both cert_file and key_file"):
        make("localhost:1", tls=True, cert_file=str(certificates / "client.pem"))


def test_open_says_that_a_token_is_refused(server, make):
    class Asking(Doubler):
        def connect(self):
            self.call_now("/test.Test/Metadata", b"")
            return self.model

    server.refuse(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
    with pytest.raises(AccessDenied, match="who are you"):
        make(server.authority, Asking)


def read(options, *, is_tls=False):
    reader = OptionReader(parse_url(f"test+grpc://host:1/model?{options}"))
    found = GrpcOptions.read(reader, is_tls=is_tls)
    reader.finish()
    return found


def test_options_of_an_url(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_TOKEN", "from the environment")
    (tmp_path / "token").write_text("from a file\n")
    assert read("token=plain").token == "plain"
    assert read("token_env=TEST_TOKEN").token == "from the environment"
    assert read(f"token_file={tmp_path}/token").token == "from a file"
    assert read("headers=X-A:1;b:%20two").headers == (("x-a", "1"), ("b", "two"))
    assert read("ca_file=ca.pem", is_tls=True).ca_file == "ca.pem"
    assert read("") == GrpcOptions()
    assert ("grpc.keepalive_time_ms", KEEPALIVE_MS) in GrpcOptions().channel_arguments()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("token=a&token_env=B", "one of token"),
        ("token_env=EVTFW_NO_SUCH_VARIABLE", "no environment variable"),
        ("token_file=no-such-file", "cannot be read"),
        ("token=a%0ab", "printable"),
        ("headers=nothing", "name:value"),
        ("ca_file=ca.pem", "encrypted"),
        ("compression=zip", "compression must be one of off, gzip"),
        ("max_message_bytes=0", "not below 1"),
        ("tokn=a", "did you mean 'token"),
    ],
)
def test_wrong_options_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        read(options)
