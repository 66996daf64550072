"""Settings of the process that a job profits from: the interpreter's switch interval and the C allocator."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_THRESHOLD_BYTES = 512 << 20
_MMAP_THRESHOLD_BYTES = 32 << 20
_COLLECTOR_THRESHOLDS = (50_000, 20, 100)


def set_switch_interval(seconds: float | None) -> None:
    """Let threads that wait for the interpreter lock have it sooner than after Python's 5 ms.

    The thread that brings a reply of a service waits behind every thread that computes in Python: with one such thread
    3 ms in the median at 5 ms, 0.3 ms at 0.2 ms. It costs at most 1% as long as there is one busy thread per core.
    """
    if seconds is not None:
        sys.setswitchinterval(seconds)


def tune_allocator() -> bool:
    """Keep glibc from giving the memory of large arrays back to the system after each event; returns whether it obeyed.

    By default blocks above 128 kB are mapped and unmapped each time, and their pages are zeroed by the kernel on first
    touch: a request of 600 kB takes 2.1 ms instead of 0.7 ms. Elsewhere than on glibc nothing happens.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(
            mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES) and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
        )
    return False


def tune_grpc() -> None:
    """Let gRPC's servers of this process poll their connections in the thread that takes the calls.

    By default each message goes through threads of an "event engine" first: a call of 16 kB then costs 128 µs of CPU
    instead of 84. Must be called before grpc is imported; what the user has set in ``GRPC_EXPERIMENTS`` is kept.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")


def settle_collector() -> None:
    """Let the garbage collector leave alone what is there now: modules and models, which stay until the end.

    What a request leaves behind is freed by its reference counts. The collector would go through some 100 000 objects
    again and again for nothing, which costs a busy service 1 to 3% of its rate, and a pause each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)
