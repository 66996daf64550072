"""Files that evtfw ships: a sample of simulated jets and the models that the examples run."""

from __future__ import annotations

import difflib
from pathlib import Path

_FOLDER = Path(__file__).parent


def path(name: str) -> Path:
    """Where a shipped file lies on this machine.

    Args:
        name: The file's name, e.g. "toptag_sample.root".

    Returns:
        Absolute path of the file.

    Raises:
        FileNotFoundError: evtfw ships no such file; the message lists the nearest names.

    >>> path("toptag.onnx").name
    'toptag.onnx'
    """
    shipped = sorted(file.name for file in _FOLDER.iterdir() if file.is_file() and file.suffix not in {".py", ".pyc"})
    if name not in shipped:
        near = difflib.get_close_matches(name, shipped, n=3) or shipped
        raise FileNotFoundError(f"evtfw ships no file '{name}'; nearest: {', '.join(near)}")
    return _FOLDER / name
