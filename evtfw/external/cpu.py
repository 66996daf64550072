"""``cpu:MODEL``: inference on this machine's processors with onnxruntime, beside the job's own threads."""

from __future__ import annotations

from evtfw.core.completion import Completion
from evtfw.core.errors import ConfigurationError, ExternalError
from evtfw.core.executor import usable_cores
from evtfw.core.resource import JobContext
from evtfw.external.batcher import Batcher, BatcherStatistics
from evtfw.external.contract import Backend, ModelDescription, Request, Tensors
from evtfw.external.onnx_model import OnnxModel, SessionSettings, find_model
from evtfw.external.pool import PooledBackend
from evtfw.external.urls import OptionReader, parse_url
from evtfw.external.validate import NON_FINITE_POLICIES, NonFinite

GATHER_S = 0.02
"""Requests that wait for a busy pool are put together up to so much computing. The fixed cost of a call (some 25 µs) is
not the reason: fewer and longer calls trash each other's and the job's caches less, which saved 6% of the CPU time of
``configs/toptag.py`` on two cores, and 20 ms more latency is hidden by a few more streams."""


class CpuBackend(Backend):
    """Runs an ONNX model in a small pool of its own threads.

    The URL is ``cpu:NAME`` for a model that evtfw ships, ``cpu:PATH`` for a file; options follow after ``?``.

    Args:
        model: name of a shipped model, or path of an ONNX file.
        threads: requests computed at the same time. 0: as many as there are cores, but not
            more than the job has threads or streams.
        intra_op_threads: threads within one call. 0: the cores that ``threads`` leave free, which is 1 unless there are
            fewer streams than cores.
        max_batch: rows in a call at most; larger requests are split. 0: axis 0 is no batch of independent rows, so each
            request is a call of its own. Results may differ in the last bits with the size of a batch.
        nonfinite: what to do about NaN and infinity in the outputs: ``fail``, ``flag`` or ``pass``.
        arena: 0: give memory back after each call; by default onnxruntime keeps it for the next, which is some
            percent faster for small batches.
    """

    def __init__(
        self,
        model: str,
        *,
        threads: int = 0,
        intra_op_threads: int = 0,
        max_batch: int = 256,
        nonfinite: NonFinite = "fail",
        arena: int = 1,
        url: str = "",
    ) -> None:
        self.url = url or f"cpu:{model}"
        self._model = model
        self._threads = threads
        self._intra_op_threads = intra_op_threads
        self._max_batch = max_batch
        self._nonfinite: NonFinite = nonfinite
        self._use_arena = bool(arena)
        self._compute_threads = 0
        self._batcher: Batcher | None = None

    @classmethod
    def from_url(cls, url: str) -> CpuBackend:
        """See `Backend.from_url`."""
        parsed = parse_url(url)
        if parsed.authority or not parsed.path:
            raise ValueError(f"'{url}' names no model; write 'cpu:NAME' or 'cpu:PATH', e.g. 'cpu:toptag'")
        options = OptionReader(parsed)
        backend = cls(
            parsed.path,
            threads=options.integer("threads", 0, at_least=0),
            intra_op_threads=options.integer("intra_op_threads", 0, at_least=0),
            max_batch=options.integer("max_batch", 256, at_least=0),
            nonfinite=options.choice("nonfinite", "fail", NON_FINITE_POLICIES),
            arena=options.integer("arena", 1, at_least=0),
            url=url,
        )
        options.finish()
        return backend

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        if self._batcher is not None and self._batcher.is_open:
            raise ConfigurationError(f"{self.url} is open already: give each job its own backend object, or the URL")
        cores = min(usable_cores(), max(1, context.threads))
        threads = self._threads or max(1, min(cores, context.streams))
        intra_op_threads = self._intra_op_threads or max(1, cores // threads)
        self._compute_threads = threads * intra_op_threads
        model = OnnxModel(
            find_model(self._model),
            SessionSettings(intra_op_threads, self._use_arena),
            is_batched=self._max_batch > 0,
        )
        pool = PooledBackend(model.run, model.description, threads=threads, name="cpu", url=self.url)
        self._batcher = Batcher(pool, max_batch=self._max_batch, gather_s=GATHER_S, nonfinite=self._nonfinite)
        self._batcher.open(context)

    def close(self) -> None:
        """See `Backend.close`."""
        if self._batcher is not None:
            self._batcher.close()

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return self._opened().slots

    @property
    def local_threads(self) -> int:
        """See `Backend.local_threads`."""
        return self._compute_threads

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return f"embedded CPU model '{self._opened().describe().name}' ({self.url})"

    @property
    def statistics(self) -> BatcherStatistics:
        """What was computed since the backend was opened."""
        return self._opened().statistics

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        return self._opened().describe()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        batcher = self._batcher
        if batcher is None:
            done.fail(ExternalError(f"{self.url} is not open"))
        else:
            batcher.submit(request, done)

    def _opened(self) -> Batcher:
        if self._batcher is None:
            raise ExternalError(f"{self.url} is not open yet")
        return self._batcher
