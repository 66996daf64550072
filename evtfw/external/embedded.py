"""A model in an ONNX file, run on this machine's processors: what backends that compute in the job itself share."""

from __future__ import annotations

import dataclasses

from evtfw.core.completion import Completion
from evtfw.core.errors import ConfigurationError, ExternalError
from evtfw.core.executor import usable_cores
from evtfw.core.resource import JobContext
from evtfw.external.batcher import Batcher, BatcherStatistics
from evtfw.external.contract import Backend, ModelDescription, Request, Tensors
from evtfw.external.onnx_model import OnnxModel, SessionSettings, find_model
from evtfw.external.pool import PooledBackend
from evtfw.external.urls import OptionReader
from evtfw.external.validate import NON_FINITE_POLICIES, NonFinite

GATHER_S = 0.02
"""Requests that wait for a busy pool are put together up to so much computing. The fixed cost of a call (some 25 µs) is
not the reason: fewer and longer calls trash each other's and the job's caches less, which saved 6% of the CPU time of
``configs/toptag.py`` on two cores, and 20 ms more latency is hidden by a few more streams."""


@dataclasses.dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """How a model is run here.

    Args:
        threads: requests computed at the same time. 0: as many as there are cores, but not more than the job has
            threads or streams.
        intra_op_threads: threads within one call. 0: the cores that ``threads`` leave free, which is 1 unless there are
            fewer streams than cores.
        max_batch: rows in a call at most; larger requests are split. 0: axis 0 is no batch of independent rows, so each
            request is a call of its own.
        nonfinite: what to do about NaN and infinity in the outputs: ``fail``, ``flag`` or ``pass``.
        arena: 0: give memory back after each call; by default onnxruntime keeps it for the next.
    """

    threads: int = 0
    intra_op_threads: int = 0
    max_batch: int = 256
    nonfinite: NonFinite = "fail"
    arena: int = 1

    @classmethod
    def read(cls, options: OptionReader) -> EmbeddedSettings:
        """Read them from an URL. Raises ValueError for the user."""
        return cls(
            threads=options.integer("threads", 0, at_least=0),
            intra_op_threads=options.integer("intra_op_threads", 0, at_least=0),
            max_batch=options.integer("max_batch", 256, at_least=0),
            nonfinite=options.choice("nonfinite", "fail", NON_FINITE_POLICIES),
            arena=options.integer("arena", 1, at_least=0),
        )


class EmbeddedBackend(Backend):
    """Runs an ONNX model in a small pool of its own threads, with a `Batcher` before it.

    Args:
        model: name of a shipped model, or path of an ONNX file.
        settings: how it is run.
        url: for messages and provenance; its scheme names the threads.
        inline: compute inside `submit` and have no threads, for a virtual clock.
    """

    def __init__(self, model: str, settings: EmbeddedSettings, *, url: str, inline: bool = False) -> None:
        self.url = url
        self._model = model
        self._settings = settings
        self._is_inline = inline
        self._compute_threads = 0
        self._batcher: Batcher | None = None

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        if self._batcher is not None and self._batcher.is_open:
            raise ConfigurationError(f"{self.url} is open already: give each job its own backend object, or the URL")
        settings = self._settings
        cores = min(usable_cores(), max(1, context.threads))
        threads = 0 if self._is_inline else settings.threads or max(1, min(cores, context.streams))
        intra_op_threads = settings.intra_op_threads or max(1, cores // max(1, threads))
        self._compute_threads = threads * intra_op_threads
        scheme = self.url.partition(":")[0]
        model = OnnxModel(
            find_model(self._model, scheme=scheme),
            SessionSettings(intra_op_threads, bool(settings.arena), calls=max(1, threads)),
            is_batched=settings.max_batch > 0,
        )
        pool = PooledBackend(model.run, model.description, threads=threads, name=scheme, url=self.url)
        self._batcher = Batcher(pool, max_batch=settings.max_batch, gather_s=GATHER_S, nonfinite=settings.nonfinite)
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
