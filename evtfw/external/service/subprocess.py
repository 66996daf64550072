"""``serve:NAME=URL``: a backend in a process of its own, started by the job and ended with it.

What computes in Python, or crashes, then does so beside the job's interpreter. The process is ``evtfw serve`` on a free
port of this machine, and the job is its client as of any other server.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any, Final

from evtfw.core.completion import Completion
from evtfw.core.errors import BadRequest, ExternalError, ServerUnavailable
from evtfw.core.executor import usable_cores
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, ModelDescription, Request, Tensors
from evtfw.external.service.repository import check_name
from evtfw.external.urls import make_backend, parse_url

START_S: Final = 60.0
"""Time for the process to be ready; a large model takes its time to load."""
_END_S: Final = 10.0
_READY: Final = re.compile(rb"serving gRPC on (\S+)\n")


def serve(model: str, *, threads: int = 0, options: tuple[str, ...] = ()) -> Serve:
    """Return a backend value for a configuration: a model served by a process of its own.

    Args:
        model: URL of the backend that the process has, or ``NAME=URL``.
        threads: cores for it; 0: as many as the job has threads, but not more than there are.
        options: for ``evtfw serve --set``, e.g. ``("queue_delay_ms=2",)``.

    Raises:
        ValueError: this is no URL of a backend.

    >>> serve("toptag=cpu:toptag", threads=2)
    serve('toptag=cpu:toptag', threads=2)
    """
    _taken_apart(model)
    return Serve(model, threads, tuple(options))


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Serve:
    """What `serve` returns; a `Recipe`."""

    model: str
    threads: int = 0
    options: tuple[str, ...] = ()

    def make(self) -> ServeBackend:
        """Make the backend. Raises ValueError if the model's URL is wrong."""
        return ServeBackend(self.model, threads=self.threads, options=self.options, url=repr(self))

    def __repr__(self) -> str:
        threads = f", threads={self.threads}" if self.threads else ""
        options = f", options={self.options!r}" if self.options else ""
        return f"serve({self.model!r}{threads}{options})"


class ServeBackend(Backend):
    """Starts ``evtfw serve`` with a model when the job opens it, and is its client.

    The process ends when the job closes the backend, and also when the job's process is killed.

    Args:
        model: URL of the backend that the process has, or ``NAME=URL``.
        threads: cores for it; 0: as many as the job has threads, but not more than there are.
        options: for ``evtfw serve --set``.
        url: for messages.
    """

    def __init__(self, model: str, *, threads: int = 0, options: tuple[str, ...] = (), url: str = "") -> None:
        self.url = url or f"serve:{model}"
        self._name, self._model = _taken_apart(model)
        self._threads = threads
        self._options = options
        self._used_threads = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Backend | None = None

    @classmethod
    def from_url(cls, url: str) -> ServeBackend:
        """See `Backend.from_url`; all behind ``serve:`` is the model's."""
        return cls(url.partition(":")[2], url=url)

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._used_threads = self._threads or min(usable_cores(), max(1, context.threads))
        with tempfile.TemporaryFile() as errors:
            self._process = self._started(errors)
            try:
                address = _address(self._process, errors, self.url)
                self._client = make_backend(f"triton+grpc://{address}/{self._name}")
                self._client.open(context)
            except BaseException:
                self.close()
                raise

    def _started(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        words = ["--model", f"{self._name}={self._model}", "--grpc", "127.0.0.1:0", "--quiet", "--until-stdin-closes"]
        words += [
            "--threads",
            str(self._used_threads),
            *(word for option in self._options for word in ("--set", option)),
        ]
        if threading.current_thread() is threading.main_thread():
            # The kernel's signal comes when the thread ends that started the process, so only with this one.
            words += ["--parent-pid", str(os.getpid())]
        try:
            # A session of its own, so that Ctrl-C ends the job's events first, which need the service.
            return subprocess.Popen(  # noqa: S603 (this very interpreter, and no shell)
                [sys.executable, "-m", "evtfw", "serve", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerUnavailable(f"{self.url}: 'evtfw serve' cannot be started: {error}") from error

    def close(self) -> None:
        """End the process; requests still waiting fail."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def flush(self) -> None:
        """See `Backend.flush`."""
        if self._client is not None:
            self._client.flush()

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return self._client.slots if self._client is not None else 1

    @property
    def local_threads(self) -> int:
        """See `Backend.local_threads`."""
        return self._used_threads

    @property
    def pid(self) -> int:
        """Of the process; 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return f"{self._model} in a process of its own ({self.pid})" if self._client is not None else self.url

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        if self._client is None:
            raise ExternalError(f"{self.url} is not open yet")
        return self._client.describe()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        client = self._client
        if client is None:
            done.fail(ExternalError(f"{self.url} is not open"))
        else:
            client.submit(request, done)


def _taken_apart(model: str) -> tuple[str, str]:
    """Return name and URL of a model; the name is made from the URL where it is not given."""
    name, equals, url = model.partition("=")
    if not equals or ":" in name:
        name, url = "", model
    try:
        path = parse_url(url).path
        make_backend(url)
        name = name or re.sub(r"\W", "_", re.split(r"[/\\]", path)[-1].removesuffix(".onnx")) or "model"
        check_name(name)
    except BadRequest as error:
        raise ValueError(f"'serve:{model}': {error}") from None
    return name, url


def _address(process: subprocess.Popen[Any], errors: IO[bytes], url: str) -> str:
    """Wait until the process says where it listens."""
    output = process.stdout
    if output is None:
        raise ServerUnavailable(f"{url}: the process has no output")
    end_s = time.monotonic() + START_S
    said = b""
    while b"\n" not in said:
        left_s = end_s - time.monotonic()
        ready = left_s > 0 and select.select([output], [], [], left_s)[0]
        part = os.read(output.fileno(), 4096) if ready else b""
        if not part:
            errors.seek(0)
            why = errors.read(4000).decode(errors="replace").strip() or f"it was not ready after {START_S:g} s"
            raise ServerUnavailable(f"{url}: 'evtfw serve' did not start: {why}")
        said += part
    match = _READY.match(said)
    if match is None:
        raise ServerUnavailable(f"{url}: 'evtfw serve' said {said[:200]!r} instead of its address")
    return match[1].decode()
