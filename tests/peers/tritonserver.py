"""A real tritonserver 2.51 with its python backend, from the wheel of PyTriton."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from evtfw import data
from tests.peers.installing import (
    Unavailable,
    installed,
    make_environment,
    site_packages,
    skipped_if_unavailable,
)

PACKAGES = ("nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime")
MODELS = Path(__file__).parent / "models"
START_LIMIT_S = 60
STOP_LIMIT_S = 15
MAX_BATCH_SIZE = 16

TOPTAG = """
backend: "python"
max_batch_size: {max_batch_size}
input [{{ name: "image" data_type: TYPE_FP32 dims: [64, 64, 1] }}]
output [{{ name: "probability" data_type: TYPE_FP32 dims: [2] }}]
instance_group [{{ count: {instances} kind: KIND_CPU }}]
dynamic_batching {{ }}
parameters {{ key: "onnx_file" value: {{ string_value: "{onnx_file}" }} }}
parameters {{ key: "sha256" value: {{ string_value: "{sha256}" }} }}
"""
ECHO = """
backend: "python"
max_batch_size: {max_batch_size}
input [{{ name: "x" data_type: {type} dims: [-1] }}]
output [{{ name: "y" data_type: {type} dims: [-1] }}]
instance_group [{{ count: {instances} kind: KIND_CPU }}]
"""
ECHOES = {
    "echo": "TYPE_FP32",
    "echo_bytes": "TYPE_STRING",
    "echo_int64": "TYPE_INT64",
    "echo_fp16": "TYPE_FP16",
    "echo_batch": "TYPE_FP32",
}
ECHO_BATCH = ("dynamic_batching { }", 64)
"""What only the model ``echo_batch`` has: Triton puts its requests together, up to so many."""


def tritonserver_folder():
    """Install the server if need be. Raises Unavailable."""
    return installed("tritonserver-2.51", _install)


def _install(folder):
    packages = make_environment(folder, *PACKAGES)
    server = packages / "pytriton" / "tritonserver"
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    stub = f"{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    for part in [*(server / "backends" / "python").glob("*.*"), server / "python_backend_stubs" / stub]:
        shutil.copy(part, python)
    for program in (server / "bin" / "tritonserver", python / "triton_python_backend_stub"):
        program.chmod(0o755)


@contextlib.contextmanager
def real_tritonserver(
    folder,
    *,
    models=("toptag", "echo"),
    delay_s=0.0,
    instances=1,
    max_batch_size=MAX_BATCH_SIZE,
    http=False,
    words=(),
    credentials=None,
):
    """Run a tritonserver with the models ``toptag`` and ``echo`` on loopback; skip the test where there is none.

    Args:
        folder: an empty one, for the model repository and the log.
        models: which of ``toptag``, ``echo``, ``echo_bytes``, ``echo_int64``, ``echo_fp16``,
            ``echo_batch`` it serves.
        delay_s: how long each call of a model takes beyond its computing; see also `TritonServer.slow`.
        instances: how many calls of a model are computed at the same time.
        http: also listen on `TritonServer.http_address`.
        words: further options of tritonserver.
        credentials: of gRPC, to see whether it is ready where ``words`` ask for TLS.
    """
    with skipped_if_unavailable():
        server = TritonServer(tritonserver_folder(), Path(folder), http=http, words=words, credentials=credentials)
        for name in models:
            server.add_model(name, instances=instances, max_batch_size=max_batch_size)
        server.slow(delay_s)
        server.start()
    try:
        yield server
    finally:
        server.kill()


class TritonServer:
    """A server in a process group of its own.

    Attributes:
        grpc_address: ``127.0.0.1:PORT``; the same after a restart.
        http_address: likewise, if asked for.
        process: the `subprocess.Popen`.
        log: path of what it writes.
    """

    def __init__(self, installation, folder, *, http=False, words=(), credentials=None):
        self._installation = installation
        self._repository = folder / "repository"
        self._repository.mkdir(parents=True)
        self.log = folder / "tritonserver.log"
        ports = free_ports(2)
        self.grpc_address = f"127.0.0.1:{ports[0]}"
        self.http_address = f"127.0.0.1:{ports[1]}" if http else ""
        self._prefix = f"peer_of_evtfw_{os.getpid()}_{ports[0]}_"
        self._words = words
        self._credentials = credentials
        self.process = None

    def add_model(self, name, *, instances=1, max_batch_size=MAX_BATCH_SIZE):
        """Put a model into the repository; a running server does not look at it."""
        version = self._repository / name / "1"
        version.mkdir(parents=True)
        shutil.copy(MODELS / "pace.py", version)
        shutil.copy(MODELS / ("echo.py" if name in ECHOES else f"{name}.py"), version / "model.py")
        if name in ECHOES:
            batching, rows = ECHO_BATCH if name == "echo_batch" else ("", 0)
            config = ECHO.format(type=ECHOES[name], instances=instances, max_batch_size=rows) + batching
        else:
            path = data.path("toptag.onnx")
            sha256 = data_sha256(path)
            config = TOPTAG.format(instances=instances, max_batch_size=max_batch_size, onnx_file=path, sha256=sha256)
        (version.parent / "config.pbtxt").write_text(f'name: "{name}"{config}')
        (version.parent / "delay_s").write_text("")

    def slow(self, delay_s):
        """Let each call take so much longer, from the next one on."""
        for file in self._repository.glob("*/delay_s"):
            file.write_text(str(delay_s))

    def start(self):
        """Start it and wait until it is ready. Raises Unavailable with the end of its log."""
        packages = site_packages(self._installation)
        libraries = [packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))},
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "PYTHONPATH": str(packages),
            # the backend's embedded interpreter takes its packages from the first python3 of the path
            "PATH": f"{self._installation / 'bin'}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [packages / "pytriton" / "tritonserver" / "bin" / "tritonserver", *self._arguments()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        try:
            wait_until_connected(self.grpc_address, self.process, START_LIMIT_S, self._credentials)
        except Unavailable as error:
            self.kill()
            raise Unavailable(f"tritonserver {error}: {self.log.read_text(errors='replace')[-1500:]}") from None

    def _arguments(self):
        grpc_port, http_port = (address.rpartition(":")[2] for address in (self.grpc_address, self.http_address))
        yield f"--model-repository={self._repository}"
        yield f"--backend-directory={self._installation / 'backends'}"
        yield "--grpc-address=127.0.0.1"
        yield f"--grpc-port={grpc_port}"
        yield from ("--http-address=127.0.0.1", f"--http-port={http_port}") if http_port else ("--allow-http=false",)
        yield from ("--allow-metrics=false", "--exit-timeout-secs=5")
        yield f"--backend-config=python,shm-region-prefix-name={self._prefix}"
        yield from self._words

    def stop(self):
        """Let it hang: its connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def cont(self):
        """Let it go on after `stop`."""
        self._signal(signal.SIGCONT)

    def kill(self):
        """End it at once, as a crash would. Harmless if it is dead."""
        self._signal(signal.SIGKILL)
        self._gone()

    def terminate(self):
        """End it in the regular way: it works off what it has."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
        finally:
            self.kill()

    def restart(self):
        """Kill it if it runs, and start it again on the same ports."""
        self.kill()
        self.start()

    def _signal(self, number):
        # the python backend's processes belong to the group, and outlive a killed server otherwise
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _gone(self):
        if self.process is not None:
            self.process.wait(STOP_LIMIT_S)
        for region in Path("/dev/shm").glob(f"{self._prefix}*"):
            region.unlink(missing_ok=True)


def data_sha256(path):
    """Return the checksum of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def free_ports(count):
    """Return ports of the loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_connected(address, process, limit_s, credentials=None):
    """Wait until a gRPC server listens, which these peers do once their models are loaded. Raises Unavailable."""
    import grpc  # not above: jobs in this process let evtfw choose how gRPC polls, which is done while importing it

    end_s = time.monotonic() + limit_s
    options = [("grpc.max_reconnect_backoff_ms", 100)]
    with (
        grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    ) as channel:
        ready = grpc.channel_ready_future(channel)
        while time.monotonic() < end_s:
            with contextlib.suppress(grpc.FutureTimeoutError):
                ready.result(timeout=0.2)
                return
            if process.poll() is not None:
                raise Unavailable(f"ended with code {process.returncode} instead of serving")
        raise Unavailable(f"did not get ready in {limit_s} s")
