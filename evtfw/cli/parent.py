"""Ending with the process that started this one, however that ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(parent_pid: int, ended: Callable[[], object]) -> None:
    """Ask the kernel (of Linux) for SIGTERM when the parent, or the thread of it that started this process, ends.

    Args:
        parent_pid: who started this process.
        ended: called if it is not there any more.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent_pid:
        ended()


def watch_stdin(ended: Callable[[], object]) -> None:
    """Call back from a thread when standard input is closed, as it is when the process at its other end is gone."""
    threading.Thread(target=_read_to_the_end, args=(ended,), name="evtfw-parent", daemon=True).start()


def _read_to_the_end(ended: Callable[[], object]) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass  # closed from the start
    ended()
