"""A server that speaks Triton's protocol and lies when told to.

It serves ``double`` (``x`` float32 [?, 4] to ``y`` = 2 x) and ``toptag`` (the tensors of the shipped model, values from
the images' sums). Which request is answered how is chosen by the number of the request, from 1: the same every time.
``python -m tests.faults.liar PORT SIGNAL@NUMBER…`` runs it in a process of its own, to be stopped and killed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import signal
import subprocess
import sys
import threading

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from tests.conftest import REPOSITORY
from tests.faults.proxy import reserved_port

LIMIT_S = 10
PATIENCE_S = 30

MODELS = {
    "double": (("x", [-1, 4]), ("y", [-1, 4])),
    "toptag": (("image", [-1, 64, 64, 1]), ("probability", [-1, 2])),
}
"""Name, then (name, shape) of its input and output; all are float32."""


def double(x):
    """The model ``double``."""
    return 2 * x


def toptag(image):
    """A stand-in for the network: two numbers per image that depend on all its pixels."""
    top = 1 / (1 + np.exp(-image.sum(axis=(1, 2, 3), dtype=np.float32)))
    return np.stack([top, 1 - top], axis=1).astype(np.float32)


ANSWERS = {"double": double, "toptag": toptag}


class Call:
    """One request, and the honest reply, which a lie may change.

    Attributes:
        number: counted over all requests of all clients, from 1.
        request, reply: messages of the protocol.
        context: of gRPC.
        liar: the server.
    """

    def __init__(self, liar, number, request, context):
        self.liar = liar
        self.number = number
        self.request = request
        self.context = context
        self.reply = honest_reply(request)
        self.ended = threading.Event()
        context.add_callback(self.ended.set)

    def wait_for_the_end(self, seconds=PATIENCE_S):
        """Wait until the client has given up or the server ends, but not longer than this."""
        self.ended.wait(seconds)

    def refuse(self, code, text):
        """End the request with a status."""
        self.context.abort(code, text)


def honest_reply(request):
    """What the model makes of a request."""
    (input_name, _), (output_name, _) = MODELS[request.model_name]
    [tensor] = request.inputs
    if tensor.name != input_name:
        raise ValueError(f"model '{request.model_name}' has no input '{tensor.name}'")
    raw = request.raw_input_contents
    data = np.frombuffer(raw[0], np.float32) if raw else np.asarray(tensor.contents.fp32_contents, np.float32)
    values = ANSWERS[request.model_name](data.reshape(tensor.shape))
    reply = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    reply.outputs.add(name=output_name, datatype="FP32", shape=values.shape)
    reply.raw_output_contents.append(values.tobytes())
    return reply


class Liar(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The server: ``with Liar() as liar: connect(liar.address)``.

    Attributes:
        lies: by the number of the request; see the module `tests.faults.lies`.
        always: the lie for all other requests, or None.
        requests: how many infer requests have come.
        served: numbers of those whose reply was given to gRPC.
        ids: the requests' ids in order of arrival.
        sha256: checksum that the server gives for its models' files; none if empty.
    """

    def __init__(self, lies=None, always=None, port=0, limit_bytes=-1):
        self.lies = dict(lies or {})
        self.always = always
        self.requests = 0
        self.served = []
        self.ids = []
        self.unloaded = set()
        self.sha256 = ""
        self._in_work = set()
        self._limit_bytes = limit_bytes
        self._reserve = reserved_port()
        self.address = f"127.0.0.1:{port or self._reserve.getsockname()[1]}"
        self._changed = threading.Condition()
        self._server = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.stop()
        self._reserve.close()

    def url(self, model="double", options=""):
        """The backend URL of a model of this server."""
        return f"triton+grpc://{self.address}/{model}{f'?{options}' if options else ''}"

    def start(self):
        """Serve, on the same port as before."""
        pool = concurrent.futures.ThreadPoolExecutor(16, "liar")
        limits = [("grpc.max_receive_message_length", self._limit_bytes), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(pool, options=[*limits, ("grpc.so_reuseport", 1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self, grace_s=None):
        """End: GOAWAY, and after ``grace_s`` (None: at once) whatever is in flight fails. Waits for the end."""
        if self._server is not None:
            stopped = self._server.stop(grace_s)
            if grace_s is None:
                for call in list(self._in_work):
                    call.ended.set()
            stopped.wait(LIMIT_S)
            self._server = None

    def replace(self, grace_s=LIMIT_S):
        """A new server listens on the port, then the old one says GOAWAY; requests in flight are answered."""
        old = self._server
        self.start()
        old.stop(grace_s)

    def leave(self, grace_s=LIMIT_S):
        """GOAWAY, and new connections are refused, until `start`; requests in flight are answered. Does not wait."""
        self._server.stop(grace_s)

    def load(self, model):
        """Serve a model again."""
        self.unloaded.discard(model)

    def unload(self, model):
        """Answer NOT_FOUND for a model from now on, as Triton does."""
        self.unloaded.add(model)

    def wait(self, timeout_s=LIMIT_S, **counts):
        """Return when so many ``requests=N`` have come or ``served=N`` were answered."""

        def reached():
            return self.requests >= counts.get("requests", 0) and len(self.served) >= counts.get("served", 0)

        with self._changed:
            if not self._changed.wait_for(reached, timeout_s):
                raise TimeoutError(f"waited for {counts}: {self.requests} came, {len(self.served)} were answered")

    # The protocol

    def ServerLive(self, request, context):
        return service_pb2.ServerLiveResponse(live=True)

    def ServerReady(self, request, context):
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request, context):
        return service_pb2.ModelReadyResponse(ready=request.name in MODELS and request.name not in self.unloaded)

    def ServerMetadata(self, request, context):
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0", extensions=["model_repository"])

    def RepositoryIndex(self, request, context):
        reply = service_pb2.RepositoryIndexResponse()
        for name in MODELS:
            reply.models.add(name=name, version="1", state="UNAVAILABLE" if name in self.unloaded else "READY")
        return reply

    def ModelMetadata(self, request, context):
        self._check_loaded(request.name, context)
        reply = service_pb2.ModelMetadataResponse(name=request.name, versions=["1"], platform="python")
        for tensors, (name, shape) in zip((reply.inputs, reply.outputs), MODELS[request.name], strict=True):
            tensors.add(name=name, datatype="FP32", shape=shape)
        return reply

    def ModelConfig(self, request, context):
        self._check_loaded(request.name, context)
        config = model_config_pb2.ModelConfig(name=request.name, backend="python", max_batch_size=64)
        for tensors, (name, shape) in zip((config.input, config.output), MODELS[request.name], strict=True):
            tensors.add(name=name, data_type=model_config_pb2.TYPE_FP32, dims=shape[1:])
        if self.sha256:
            config.parameters["sha256"].string_value = self.sha256
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request, context):
        with self._changed:
            self.requests += 1
            number = self.requests
            self.ids.append(request.id)
            self._changed.notify_all()
        self._check_loaded(request.model_name, context)
        call = Call(self, number, request, context)
        lie = self.lies.get(number, self.always)
        if lie is not None:
            self._in_work.add(call)
            try:
                lie(call)
            finally:
                self._in_work.discard(call)
        with self._changed:
            self.served.append(number)
            self._changed.notify_all()
        return call.reply

    def _check_loaded(self, model, context):
        if model not in MODELS or model in self.unloaded:
            text = f"Request for unknown model: '{model}' is not found"
            context.abort(grpc.StatusCode.NOT_FOUND, text)


class LiarProcess:
    """The server in a process of its own: ``with LiarProcess() as server: server.kill()``.

    Args:
        dies_at: number of the request that it is killed in (SIGKILL) instead of answering.
        hangs_at: number of the request that it is stopped in (SIGSTOP).
    """

    def __init__(self, *, dies_at=0, hangs_at=0):
        self._signals = [f"{signal.SIGKILL.value}@{dies_at}", f"{signal.SIGSTOP.value}@{hangs_at}"]
        self._reserve = reserved_port()
        self.address = f"127.0.0.1:{self._reserve.getsockname()[1]}"
        self._process = None

    url = Liar.url

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.kill()
        self._reserve.close()

    def start(self):
        """Start it and wait until it serves."""
        command = [sys.executable, "-m", "tests.faults.liar", self.address.rpartition(":")[2], *self._signals]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        if self._process.stdout.readline() != "serving\n":
            raise RuntimeError("the server did not start")

    def kill(self):
        """SIGKILL: connections are reset, nothing is said."""
        self._process.kill()
        self._process.wait(LIMIT_S)
        self._process.stdout.close()

    def hang(self):
        """SIGSTOP: connections stay, nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)


def main():
    """Serve on a given port until killed; at some request's number send this process a signal."""
    port, *signals = sys.argv[1:]

    def send(number):
        return lambda call: signal.raise_signal(number)

    lies = {int(at): send(int(number)) for number, _, at in (word.partition("@") for word in signals)}
    with Liar(lies, port=int(port)):
        print("serving", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
