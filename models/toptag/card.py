"""The model card: what a shipped ONNX file expects, answers, and where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import onnx

# -1 is a free dimension, as in Triton's model configuration.
FREE_DIMENSION = -1


def sha256(path: Path) -> str:
    """Checksum of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_card(
    model: Path, *, image: Mapping[str, object], training: Mapping[str, object], held_out: Mapping[str, object]
) -> Path:
    """Write the card next to the model; names, types and shapes are the file's own.

    Args:
        model: The ONNX file.
        image: Parameters of `jet_images` that the network was trained with.
        training: Recipe, seeds, data and time of the training.
        held_out: Figures of merit and the files they were measured on.

    Returns:
        The card's path: the model's with the suffix `.json`.
    """
    graph = onnx.load(model).graph
    card = {
        "name": model.stem,
        "title": "Top quark jets against QCD jets, from one image of a large-radius jet",
        "file": model.name,
        "sha256": sha256(model),
        "size_bytes": model.stat().st_size,
        "inputs": [_tensor(value) for value in graph.input],
        "outputs": [_tensor(value) | {"classes": ["top", "qcd"]} for value in graph.output],
        "image": dict(image),
        "training": dict(training),
        "held_out": dict(held_out),
    }
    path = model.with_suffix(".json")
    path.write_text(json.dumps(card, indent=2) + "\n")
    return path


def _tensor(value: onnx.ValueInfoProto) -> dict[str, object]:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    shape = [axis.dim_value if axis.HasField("dim_value") else FREE_DIMENSION for axis in tensor.shape.dim]
    return {"name": value.name, "dtype": dtype, "shape": shape}
