"""What `Liar` may do with a request: functions of a `tests.faults.liar.Call`."""

from __future__ import annotations

import threading

import grpc
import numpy as np


def wrong_shape(call):
    """One column less than the model has; data to fit."""
    output = call.reply.outputs[0]
    values = _values(call.reply)[:, :-1]
    output.shape[1] -= 1
    call.reply.raw_output_contents[0] = np.ascontiguousarray(values).tobytes()


def wrong_rows(call):
    """One row more than were asked for."""
    values = _values(call.reply)
    call.reply.outputs[0].shape[0] += 1
    call.reply.raw_output_contents[0] = np.concatenate([values, values[:1]]).tobytes()


def wrong_dtype(call):
    """Float64 instead of float32."""
    call.reply.outputs[0].datatype = "FP64"
    call.reply.raw_output_contents[0] = _values(call.reply).astype(np.float64).tobytes()


def wrong_name(call):
    """Another output than the model has."""
    call.reply.outputs[0].name = "z"


def no_output(call):
    """An empty reply."""
    del call.reply.outputs[:]
    del call.reply.raw_output_contents[:]


def truncated(call):
    """The last three bytes are missing."""
    call.reply.raw_output_contents[0] = call.reply.raw_output_contents[0][:-3]


def padded(call):
    """Four bytes too many."""
    call.reply.raw_output_contents[0] += bytes(4)


def wrong_id(call):
    """The id of another request."""
    call.reply.id = "somebody-else"


def not_a_number(call):
    """NaN in the first value."""
    _change_first(call, np.nan)


def infinite(call):
    """Infinity in the first value."""
    _change_first(call, np.inf)


def never(call):
    """No reply before the client gives up."""
    call.wait_for_the_end()


def oversized(call):
    """A reply of 2 MB."""
    call.reply.parameters["padding"].string_param = "x" * 2_000_000


def raises(call):
    """The model's code fails: UNKNOWN."""
    raise ArithmeticError("the model broke")


def refuses(code, text="told to refuse"):
    """Return a lie: the request ends with this status of gRPC."""

    def lie(call):
        call.refuse(code, text)

    return lie


overloaded = refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "Exceeds maximum queue size")
unavailable = refuses(grpc.StatusCode.UNAVAILABLE, "Socket closed")
cancelled = refuses(grpc.StatusCode.CANCELLED, "the server is stopping")
invalid = refuses(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'x'")


class Late:
    """A lie: the reply comes when `release` is called, whatever the client does meanwhile."""

    def __init__(self):
        self._event = threading.Event()
        self.waiting = 0

    def __call__(self, call):
        self.waiting += 1
        self._event.wait(30)

    def release(self):
        """Let all replies go."""
        self._event.set()


class Slow:
    """A lie: each reply takes so long, or until the client gives up."""

    def __init__(self, seconds):
        self._seconds = seconds

    def __call__(self, call):
        call.wait_for_the_end(self._seconds)


class Swap:
    """A lie for two requests: each gets the other's reply, id and all."""

    def __init__(self):
        self._replies = []
        self._both = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, call):
        with self._lock:
            mine = len(self._replies)
            self._replies.append(call.reply)
            if mine == 1:
                self._both.set()
        self._both.wait(30)
        call.reply = self._replies[1 - mine]


class Then:
    """A lie that first calls something of the test's, e.g. a proxy's ``reset``, then answers honestly or as told."""

    def __init__(self, do, lie=None):
        self._do = do
        self._lie = lie

    def __call__(self, call):
        self._do()
        if self._lie is not None:
            self._lie(call)


def _values(reply):
    return np.frombuffer(reply.raw_output_contents[0], np.float32).reshape(reply.outputs[0].shape)


def _change_first(call, value):
    values = _values(call.reply).copy()
    values.flat[0] = value
    call.reply.raw_output_contents[0] = values.tobytes()
