"""A real mlserver 1.7.1: the same protocol from other hands, without ModelConfig."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from evtfw import data
from tests.peers.installing import Unavailable, installed, make_environment, skipped_if_unavailable
from tests.peers.tritonserver import MODELS, START_LIMIT_S, STOP_LIMIT_S, free_ports, wait_until_connected

PACKAGES = ("mlserver==1.7.1", "onnxruntime")


@contextlib.contextmanager
def real_mlserver(folder):
    """Run mlserver with the model ``toptag`` on loopback and give its gRPC address; skip the test if it cannot be."""
    with skipped_if_unavailable():
        installation = installed("mlserver-1.7", lambda empty: make_environment(empty, *PACKAGES))
        address = _write_settings(Path(folder))
        process = _start(installation, Path(folder), address)
    try:
        yield address
    finally:
        _kill(process)


def _write_settings(folder):
    http_port, grpc_port, metrics_port = free_ports(3)
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": 0,
    }
    tensor = {"datatype": "FP32"}
    model = {
        "name": "toptag",
        "implementation": "for_mlserver.TopTag",
        "inputs": [{**tensor, "name": "image", "shape": [-1, 64, 64, 1]}],
        "outputs": [{**tensor, "name": "probability", "shape": [-1, 2]}],
        "parameters": {"uri": str(data.path("toptag.onnx")), "version": "v1"},
    }
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    shutil.copy(MODELS / "for_mlserver.py", folder)
    return f"127.0.0.1:{grpc_port}"


def _start(installation, folder, address):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["PATH"] = f"{installation / 'bin'}:{environment['PATH']}"
    log_path = folder / "mlserver.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [installation / "bin" / "mlserver", "start", folder],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        wait_until_connected(address, process, START_LIMIT_S)
    except Unavailable as error:
        _kill(process)
        raise Unavailable(f"mlserver {error}: {log_path.read_text(errors='replace')[-1500:]}") from None
    return process


def _kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_LIMIT_S)
