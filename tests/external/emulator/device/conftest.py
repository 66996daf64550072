import pytest

from tests.external.emulator.device.queueing import write_model


@pytest.fixture(scope="session")
def dense(tmp_path_factory):
    """A small emulated model."""
    path = tmp_path_factory.mktemp("dense") / "dense.onnx"
    write_model(path)
    return path
