"""From a model of any make to an ONNX file in the arithmetic of a device, with its card: done once, offline."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw import __version__
from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.card import ArithmeticKind, LayerCard, ModelCard, SourceCard, TreesCard
from evtfw.external.emulator.reading.resolving import NATIVE, Configuration, resolve
from evtfw.external.emulator.requirements import require_onnx

_MOST_IR: Final = 10
"""IR version of ONNX that onnxruntime 1.19, the oldest one supported, reads."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Request:
    """What is asked for, and the source as it was found."""

    source: Any
    form: str
    name: str
    configuration: Configuration | None
    calibration: Mapping[str, NDArray[Any]] | None
    trust_pickle: bool

    @property
    def file(self) -> str:
        """The source for messages."""
        return str(self.source) if isinstance(self.source, Path) else f"'{self.name}'"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Made:
    """A model and what its card says."""

    model: Any
    kind: str
    arithmetic: ArithmeticKind
    layers: tuple[LayerCard, ...] = ()
    trees: TreesCard | None = None
    notes: tuple[str, ...] = ()


def convert(
    source: Path | str | Any,
    *,
    format: str,  # noqa: A002 - as the command's option is called
    out: Path | str,
    configuration: Configuration | None = None,
    calibration: Mapping[str, NDArray[Any]] | None = None,
    device: str = "",
    name: str | None = None,
    overwrite: bool = False,
    trust_pickle: bool = False,
) -> Path:
    """Convert a model and write it with its card; the same source and options give the same bytes.

    Inputs and outputs keep their names and shapes. An existing file is replaced as a whole or not at all.

    Args:
        source: an ONNX or QONNX file or `onnx.ModelProto`, a ``.keras`` file of HGQ2, or trees: an estimator of
            scikit-learn, XGBoost or LightGBM, or a file of theirs or of conifer's.
        format: ``ap_fixed<W,I,rounding,overflow>`` for all values; ``hls4ml``: what the configuration says; ``native``
            (also ``qonnx``, ``hgq2``): what the source says itself; ``fixed8``; ``msfp<…>`` and its presets.
        out: the ONNX file to write.
        configuration: hls4ml's, for ``hls4ml``; for trees conifer's.
        calibration: typical rows of each input, for ``fixed8``.
        device: preset or file of the device that it is meant for.
        name: of the model; default: that of the file ``out``.
        overwrite: whether a model that is there already may be replaced.
        trust_pickle: whether trees may be read from a pickle, which runs whatever code it contains.

    Returns:
        The path of the ONNX file.

    Raises:
        ConfigurationError: the source, the format or the configuration cannot be used; the message names file and
            node, and says what to do.
    """
    require_onnx()
    out = Path(out)
    _check_out(out, overwrite=overwrite)
    if device:
        _check_device(device)
    source = Path(source) if isinstance(source, str) else source
    request = _Request(
        source=source,
        form=format.strip(),
        name=name or out.stem,
        configuration=configuration,
        calibration=calibration,
        trust_pickle=trust_pickle,
    )
    made = _maker(request)(request)
    content = _bytes(made.model, request.name)
    card = ModelCard(
        name=request.name,
        sha256=hashlib.sha256(content).hexdigest(),
        arithmetic=made.arithmetic,
        format=request.form,
        device=device,
        source=_source_card(source, made.kind),
        layers=made.layers,
        trees=made.trees,
        notes=made.notes,
        made_by=f"evtfw {__version__}",
    )
    _write(out, content, card)
    return out


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.suffix != ".onnx":
        raise ConfigurationError(f"the converted model must be an .onnx file, not {out}; write e.g. {out.stem}.onnx")
    if not out.parent.is_dir():
        raise ConfigurationError(f"there is no folder {out.parent} to write {out.name} to; make it first")
    for file in (out, out.with_suffix(".json")):
        if file.exists() and not overwrite:
            raise ConfigurationError(
                f"{file} is there already; choose another name, or allow to replace it (--overwrite)"
            )


def _check_device(device: str) -> None:
    from evtfw.external.emulator.device.presets import load_device

    load_device(device)


def _maker(request: _Request) -> Callable[[_Request], _Made]:
    """Return what makes a model of this source in this format."""
    from evtfw.external.emulator import trees

    form = request.form
    if isinstance(request.source, Path) and not request.source.is_file():
        folder = request.source.parent
        there = [file.name for file in folder.iterdir()] if folder.is_dir() else []
        raise ConfigurationError(f"there is no file {request.source}{nearest(request.source.name, there)}")
    if trees.holds_trees(request.source):
        return _from_trees
    if isinstance(request.source, Path) and request.source.suffix == ".keras":
        return _from_hgq2
    if form == "fixed8" or form.startswith(("fixed8<", "msfp", "brainwave")):
        return _overlay
    if form == "hls4ml" or form in NATIVE or form.startswith(("ap_", "fixed<", "ufixed<", "int<", "uint<")):
        return _fixed
    known = ["ap_fixed<16,6>", "hls4ml", *NATIVE, "fixed8", "msfp12", "msfp16", "brainwave-ms-fp9"]
    raise ConfigurationError(f"there is no format '{form}'{nearest(form, known)}; e.g. {', '.join(known)}")


def _from_trees(request: _Request) -> _Made:
    from evtfw.external.emulator import trees

    formats = _dictionary(request.configuration) if request.configuration is not None else request.form
    model, card, notes = trees.convert(
        request.source, format=formats, name=request.name, trust_pickle=request.trust_pickle
    )
    return _Made(model=model, kind="trees", arithmetic="trees", trees=card, notes=notes)


def _dictionary(configuration: Configuration) -> Mapping[str, Any]:
    from evtfw.external.emulator.reading.hls4ml_config import read_dictionary

    return configuration if isinstance(configuration, Mapping) else read_dictionary(Path(configuration))


def _overlay(request: _Request) -> _Made:
    from evtfw.external.emulator import quantised

    if request.configuration is not None:
        raise ConfigurationError(f"a configuration of hls4ml means nothing to format '{request.form}'; leave it out")
    proto = _proto(request)
    model, layers, notes = quantised.rewrite(proto, request.form, _as_inputs(proto, request.calibration))
    arithmetic: ArithmeticKind = "fixed8" if request.form.startswith("fixed8") else "msfp"
    return _Made(model=model, kind="onnx", arithmetic=arithmetic, layers=tuple(layers), notes=tuple(notes))


def _as_inputs(proto: Any, calibration: Mapping[str, NDArray[Any]] | None) -> Mapping[str, NDArray[Any]] | None:
    """Return rows with the dtypes of the model's inputs."""
    from onnx import helper

    if calibration is None:
        return None
    dtypes = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in proto.graph.input
    }
    return {name: np.asarray(rows, dtypes.get(name, rows.dtype)) for name, rows in calibration.items()}


def _fixed(request: _Request) -> _Made:
    from evtfw.external.emulator.reading.host import split

    parts = split(_proto(request))
    made = _written(request, parts.device)
    if parts.host is None:
        return made
    note = f"computed on the host in the source's floating point, before the device: {', '.join(parts.operations)}"
    return dataclasses.replace(made, model=_merged(parts.host, made.model), notes=(*made.notes, note))


def _written(request: _Request, model: Any) -> _Made:
    from evtfw.external.emulator.fixed.writer import write

    resolved = resolve(model, request.form, request.configuration, request.file)
    written = write(resolved.network, resolved.formats)
    layers = tuple(
        layer.model_copy(update={"reuse_factor": made.reuse_factor, "strategy": made.strategy})
        if (made := resolved.implementations.get(layer.name))
        else layer
        for layer in written.layers
    )
    return _Made(
        model=written.model,
        kind="qonnx" if resolved.is_quantised else "onnx",
        arithmetic="ap_fixed",
        layers=layers,
        notes=(*resolved.notes, *written.notes),
    )


def _from_hgq2(request: _Request) -> _Made:
    from evtfw.external.emulator.fixed.writer import write
    from evtfw.external.emulator.reading import hgq2, native_formats

    if request.form not in NATIVE:
        raise ConfigurationError(
            f"{request.file} is a model of HGQ2, which has formats of its own; convert it by --format native, not "
            f"'{request.form}'"
        )
    found = hgq2.read(request.source)
    formats, notes = native_formats.resolve(found.network, found.weight_formats, found.bias_formats, request.file)
    written = write(found.network, formats)
    return _Made(
        model=written.model,
        kind="hgq2",
        arithmetic="ap_fixed",
        layers=written.layers,
        notes=(*notes, *written.notes),
    )


def _proto(request: _Request) -> Any:
    from evtfw.external.emulator.reading.onnx_graph import load_proto

    return load_proto(request.source)


def _merged(host: Any, device: Any) -> Any:
    """Put the host's operations before the device's."""
    from onnx import compose, version_converter

    opset = next(entry.version for entry in device.opset_import if entry.domain == "")
    host = version_converter.convert_version(host, opset)
    host.ir_version = device.ir_version
    border = [output.name for output in host.graph.output]
    host = compose.add_prefix(host, "host/", rename_inputs=False)
    outside = [output.name for output in device.graph.output]
    device = compose.add_prefix(device, "device/", rename_inputs=False, rename_outputs=False)
    given = {value.name for value in device.graph.input}
    links = [(f"host/{tensor}", tensor) for tensor in border if tensor in given]
    return compose.merge_models(host, device, io_map=links, outputs=outside)


def _bytes(model: Any, name: str) -> bytes:
    model.graph.name = name
    model.ir_version = min(model.ir_version, _MOST_IR)
    model.producer_name, model.producer_version = "evtfw", __version__
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _source_card(source: Any, kind: str) -> SourceCard:
    if not isinstance(source, Path):
        return SourceCard(
            file="", kind=kind if kind != "trees" else type(source).__module__.partition(".")[0], sha256=""
        )
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SourceCard(file=source.name, kind=kind, sha256=digest)


def _write(out: Path, content: bytes, card: ModelCard) -> None:
    """Write both files aside, then put them in their places: a reader sees the old model, the new one, or an error."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as folder:
            aside = Path(folder) / out.name
            aside.write_bytes(content)
            written = card.write(aside)
            os.replace(aside, out)  # noqa: PTH105
            os.replace(written, out.with_suffix(".json"))  # noqa: PTH105
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror or error}") from error
