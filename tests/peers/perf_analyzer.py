"""The real perf_analyzer 2.51, from the wheel of tritonclient."""

import os
import shutil
import subprocess
import zipfile

from tests.peers.installing import download, installed, site_packages, skipped_if_unavailable
from tests.peers.tritonserver import tritonserver_folder

WHEEL = "tritonclient==2.51.0"
LIBRARIES = {"libb64-*.so*": "libb64.so.0d", "libcudart-*.so*": "libcudart.so.12"}


def perf_analyzer():
    """Return the program's path and the environment that it needs; skip the test where there is none."""
    with skipped_if_unavailable():
        libraries = site_packages(tritonserver_folder()) / "nvidia_pytriton.libs"

        def make(folder):
            with zipfile.ZipFile(download(folder, WHEEL)) as wheel:
                name = next(name for name in wheel.namelist() if name.endswith("/bin/perf_analyzer"))
                (folder / "perf_analyzer").write_bytes(wheel.read(name))
            (folder / "perf_analyzer").chmod(0o755)
            for pattern, target in LIBRARIES.items():
                shutil.copy(next(libraries.glob(pattern)), folder / target)

        folder = installed("perf_analyzer-2.51", make)
    return folder / "perf_analyzer", {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def run_perf_analyzer(model, address, *words, timeout_s=120):
    """Run it over gRPC and return the ended process; its figures are in ``stdout``."""
    path, environment = perf_analyzer()
    return subprocess.run(
        [path, "-m", model, "-u", address, "-i", "grpc", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment,
    )
