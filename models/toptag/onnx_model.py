"""Running the exported network: images in, top probabilities out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

Float32Array = npt.NDArray[np.float32]

BATCH_SIZE = 256


def top_probability(model: Path, images: Float32Array, *, threads: int = 1) -> Float32Array:
    """Score images with an ONNX file.

    Args:
        model: The ONNX file, e.g. `evtfw/data/toptag.onnx`.
        images: float32 [n, pixels, pixels, 1].
        threads: onnxruntime's threads within one call.

    Returns:
        Top probability, float32 [n].
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    batches = [images[first : first + BATCH_SIZE] for first in range(0, len(images), BATCH_SIZE)]
    scores = [session.run(["probability"], {"image": batch})[0][:, 0] for batch in batches]
    return np.concatenate(scores) if scores else np.empty(0, dtype=np.float32)
