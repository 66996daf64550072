"""``cpu:MODEL``: inference on this machine's processors with onnxruntime, beside the job's own threads."""

from __future__ import annotations

import dataclasses

from evtfw.external.embedded import EmbeddedBackend, EmbeddedSettings
from evtfw.external.urls import OptionReader, parse_url
from evtfw.external.validate import NonFinite


class CpuBackend(EmbeddedBackend):
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
        settings = EmbeddedSettings(threads, intra_op_threads, max_batch, nonfinite, arena)
        super().__init__(model, settings, url=url or f"cpu:{model}")

    @classmethod
    def from_url(cls, url: str) -> CpuBackend:
        """See `Backend.from_url`."""
        parsed = parse_url(url)
        if parsed.authority or not parsed.path:
            raise ValueError(f"'{url}' names no model; write 'cpu:NAME' or 'cpu:PATH', e.g. 'cpu:toptag'")
        options = OptionReader(parsed)
        settings = EmbeddedSettings.read(options)
        options.finish()
        return cls(parsed.path, **dataclasses.asdict(settings), url=url)

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return f"embedded CPU model '{self.describe().name}' ({self.url})"
