"""What the offline part needs beyond what every job needs."""

from __future__ import annotations

import importlib.util

from evtfw.core.errors import ConfigurationError


def require_onnx() -> None:
    """Raise ConfigurationError, which says what to install, if there is no package onnx."""
    if importlib.util.find_spec("onnx") is None:
        raise ConfigurationError(
            "to convert and to cost models the package onnx is needed; install it by pip install 'evtfw[emulate]'"
        )
