"""Who waits for a connection's bytes: one thread that is waiting anyway, rather than a pool of gRPC's own.

By default, gRPC's C core has a pool of threads ("event engine") that waits for bytes; it wakes another thread of the
pool to read them, and that one wakes who waits for replies. Its older way lets the thread that waits for replies wait
for bytes too. For small requests this saves three to four of six changes of thread, and a quarter of the CPU.
"""

from __future__ import annotations

import importlib.metadata
import os
from typing import Final

_VARIABLE: Final = "GRPC_EXPERIMENTS"
_SETTING: Final = "-event_engine_client"
_KNOWN_BELOW: Final = (1, 86)
"""Versions of grpcio that were tried. One that no longer has the setting would complain to the user."""


def import_grpc() -> None:
    """Import gRPC the older way, unless the user chose otherwise; without effect if it was imported before.

    gRPC reads the variable while it is imported. It is taken away again, so that other programs do not inherit it.
    """
    major, minor, *_ = importlib.metadata.version("grpcio").split(".")
    is_ours = _VARIABLE not in os.environ and (int(major), int(minor)) < _KNOWN_BELOW
    if is_ours:
        os.environ[_VARIABLE] = _SETTING
    try:
        import grpc  # noqa: F401
    finally:
        if is_ours:
            del os.environ[_VARIABLE]
