"""A gRPC server on loopback that answers bytes with bytes, and a backend that speaks to it."""

from __future__ import annotations

import subprocess
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest

from evtfw.core.clock import RealClock
from evtfw.core.resource import JobContext
from evtfw.external.contract import ModelDescription, TensorSpec
from evtfw.external.grpc.backend import GrpcBackend
from evtfw.external.grpc.options import GrpcOptions

VECTOR = ModelDescription(
    "vector",
    inputs=(TensorSpec("x", np.dtype("float32"), (None,)),),
    outputs=(TensorSpec("y", np.dtype("float32"), (None,)),),
    max_batch_size=None,
)


class Doubler(GrpcBackend):
    """Sends the numbers as they lie in memory and reads what comes back the same way."""

    method = "/test.Test/Double"
    model = VECTOR

    def encode(self, request):
        return [np.ascontiguousarray(request.inputs["x"])]

    def decode(self, message, request):
        return {"y": np.frombuffer(message, np.float32)}


def double(message, context):
    return (2 * np.frombuffer(message, np.float32)).tobytes()


class Server(grpc.GenericRpcHandler):
    """Answers with `answer`, in a few threads; `gate` holds `held` back."""

    def __init__(self, credentials=None):
        self.answer = double
        self.metadata = []
        self.gate = threading.Event()
        self.arrived = threading.Event()
        self.cancelled = threading.Event()
        self.server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
        self.server.add_generic_rpc_handlers((self,))
        add = self.server.add_insecure_port if credentials is None else self.server.add_secure_port
        host = "127.0.0.1" if credentials is None else "localhost"
        self.port = add("127.0.0.1:0", *(() if credentials is None else (credentials,)))
        self.authority = f"{host}:{self.port}"
        self.server.start()

    def service(self, details):
        if not details.method.startswith("/test."):
            return None
        self.metadata.append(dict(details.invocation_metadata))
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def held(self, message, context):
        """Answer when the gate opens."""
        context.add_callback(lambda: self.cancelled.set() if not context.code() else None)
        self.arrived.set()
        self.gate.wait(30)
        return double(message, context)

    def refuse(self, code, words="no"):
        def answer(message, context):
            context.abort(code, words)

        self.answer = answer

    def stop(self):
        self.gate.set()
        self.server.stop(0).wait(10)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def real_context(said):
    return JobContext(clock=RealClock(), threads=2, streams=4, say=said.append)


@pytest.fixture
def make(real_context):
    """Make and open backends that are closed after the test."""
    made = []

    def make_backend(authority, kind=Doubler, **options):
        backend = kind(authority, url=f"test+grpc://{authority}/vector", options=GrpcOptions(**options))
        made.append(backend)
        backend.open(real_context)
        return backend

    yield make_backend
    for backend in made:
        backend.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A certificate authority with a server's and a client's certificate, as files."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    try:
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2")
    except FileNotFoundError:
        pytest.skip("there is no openssl command to make certificates with")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *sign)
    return folder
