"""A model in an ONNX file: found, checked against its card, loaded by onnxruntime."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import platform
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import evtfw.data
from evtfw.core.errors import ConfigurationError, ExternalError, nearest
from evtfw.external.contract import ModelDescription, Tensors, TensorSpec
from evtfw.external.sessions import Sessions

_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_MOST_COPIED_BYTES: Final = 256 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class SessionSettings:
    """How onnxruntime runs a model.

    Args:
        intra_op_threads: threads within one call.
        use_arena: keep memory from call to call: as much as the largest request needed. Off, it is given back to the
            system's allocator; a call with one image of the shipped network then costs 8% more CPU.
        calls: that overlap. Each has a session of its own, unless the model is so large that the copies count.
    """

    intra_op_threads: int = 1
    use_arena: bool = True
    calls: int = 1


class OnnxModel:
    """A loaded model; `run` may be called from several threads at the same time and releases the interpreter lock.

    Args:
        path: the ONNX file; a card beside it (same name, ``.json``) with a ``sha256`` is checked.
        settings: for onnxruntime.
        is_batched: whether axis 0 may be taken as a batch of independent rows, if the model leaves it free everywhere.

    Raises:
        ConfigurationError: there is no such file.
        ExternalError: the file is damaged, or not the one that its card describes.
    """

    def __init__(self, path: Path, settings: SessionSettings, *, is_batched: bool = True) -> None:
        checksum = _checksum(path)
        card = _card(path)
        if card.get("sha256", checksum) != checksum:
            raise ExternalError(
                f"{path}: its sha256 is {checksum}, but its card {path.with_suffix('.json').name} says "
                f"{card['sha256']}; the model is damaged, or was replaced without its card"
            )
        copies = max(1, min(settings.calls, _MOST_COPIED_BYTES // max(1, path.stat().st_size)))
        self._sessions = Sessions(functools.partial(_session, path, settings), copies)
        session = self._sessions.first
        inputs = tuple(_spec(path, tensor) for tensor in session.get_inputs())
        outputs = tuple(_spec(path, tensor) for tensor in session.get_outputs())
        has_batch_axis = is_batched and all(spec.shape and spec.shape[0] is None for spec in (*inputs, *outputs))
        self.description = ModelDescription(
            name=str(card.get("name", path.stem)),
            version=str(card.get("version", "")),
            inputs=inputs,
            outputs=outputs,
            max_batch_size=None if has_batch_axis else 0,
            platform="onnxruntime",
            sha256=checksum,
        )
        self._output_names = [spec.name for spec in outputs]

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Return the outputs by name."""
        outputs = self._sessions.run(self._output_names, inputs)
        return dict(zip(self._output_names, outputs, strict=True))


def find_model(name: str, *, scheme: str = "cpu") -> Path:
    """Return the file that a backend URL means: a path, or the name of a model that evtfw ships.

    Args:
        name: what stands behind the scheme.
        scheme: of the URL, for messages.

    Raises:
        ConfigurationError: there is no such file; the message has the nearest names.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if len(path.parts) == 1 and path.suffix in ("", ".onnx"):
        try:
            return evtfw.data.path(path.with_suffix(".onnx").name)
        except FileNotFoundError:
            shipped = sorted(file.stem for file in evtfw.data.path("toptag.onnx").parent.glob("*.onnx"))
            raise ConfigurationError(
                f"there is no model '{scheme}:{name}'{nearest(path.stem, shipped)}; for a file of yours write its "
                f"path, e.g. '{scheme}:./{path.with_suffix('.onnx')}'"
            ) from None
    beside = [file.name for file in path.parent.glob("*.onnx")] if path.parent.is_dir() else []
    where = "" if path.parent.is_dir() else f"; there is no folder {path.parent} either"
    raise ConfigurationError(f"there is no model file {path}{nearest(path.name, beside)}{where}")


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"model file {path} cannot be read: {error.strerror}") from error


def _card(path: Path) -> dict[str, Any]:
    file = path.with_suffix(".json")
    if not file.is_file():
        return {}
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExternalError(f"the model's card {file} cannot be read: {error}") from error
    return card if isinstance(card, dict) else {}


def _session(path: Path, settings: SessionSettings) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = 1
    # Threads that spin for work would take the cores from the job while nothing is asked.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = settings.use_arena
    options.enable_mem_pattern = False  # it keeps a plan for each shape ever seen
    if not sums_of_bytes_are_exact():
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExternalError(f"onnxruntime {onnxruntime.__version__} cannot load {path}: {error}") from error


@functools.cache
def sums_of_bytes_are_exact() -> bool:
    """Whether this processor adds products of bytes without saturation in between.

    On x86 only those with VNNI do. On others onnxruntime must be told to be exact, which takes 2.5 times as long and is
    the difference between an emulator and a guess. https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def _spec(path: Path, tensor: Any) -> TensorSpec:
    if tensor.type not in _DTYPES:
        raise ExternalError(f"{path}: tensor '{tensor.name}' is of type {tensor.type}, which evtfw does not support")
    shape = tuple(n if isinstance(n, int) else None for n in tensor.shape or ())
    return TensorSpec(tensor.name, np.dtype(_DTYPES[tensor.type]), shape)
