"""A model that is offered to others: a backend behind a queue."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from evtfw.core.completion import Completion
from evtfw.core.errors import BadRequest, ConfigurationError, ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, ModelDescription, Tensors
from evtfw.external.service.config import completed_config, generated_config, narrowed, served_batch_size
from evtfw.external.service.queue import Queued
from evtfw.external.service.scheduler import Scheduler
from evtfw.external.service.settings import ServingSettings
from evtfw.external.service.statistics import ModelStatistics
from evtfw.external.validate import Validator


class HostedModel:
    """Serves requests of many clients with one backend.

    Args:
        name: under which clients ask for it.
        backend: does the work; opened and closed with the model.
        version: a whole number as text, as Triton's clients expect it.
        settings: limits and batches.
        config: a ``model_config_pb2.ModelConfig`` as it was written, if it was: its tensors are checked against
            the model's, and clients see it.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        version: str = "1",
        settings: ServingSettings | None = None,
        config: Any = None,
    ) -> None:
        self.name = name
        self.version = version
        self.backend = backend
        self.settings = settings or ServingSettings()
        self._written = config
        self._config: Any = None
        self._scheduler: Scheduler | None = None
        self._latest: Scheduler | None = None
        self._description = ModelDescription(name, version)

    def open(self, context: JobContext) -> None:
        """Open the backend and take requests.

        Raises:
            ExternalError: the backend cannot serve.
            ConfigurationError: the settings do not fit the model.
        """
        self.backend.open(context)
        try:
            inner = self.backend.describe()
            try:
                max_batch_size = served_batch_size(inner, self.settings)
                if self._written is not None:
                    inner = narrowed(inner, self._written)
            except ValueError as error:
                raise ConfigurationError(f"model '{self.name}' ({self.backend.url}): {error}") from None
            self._description = dataclasses.replace(
                inner, name=self.name, version=self.version, max_batch_size=max_batch_size
            )
            self._validator = Validator(self._description, self.backend.url)
            self._clock = context.clock
            self._has_kinds = not inner.inputs or any(None in spec.shape[1:] for spec in inner.inputs)
            scheduler = Scheduler(self.name, self.backend, self._validator, self.settings, context.clock)
            generated = generated_config(self._description, self.settings, scheduler.instances)
            self._config = generated if self._written is None else completed_config(self._written, generated)
            self._scheduler = self._latest = scheduler
        except BaseException:
            self.backend.close()
            raise

    def start_draining(self) -> threading.Event:
        """Refuse what comes now and let the rest end. Returns what is set when it has."""
        if self._scheduler is not None:
            return self._scheduler.stop("is ending")
        idle = threading.Event()
        idle.set()
        return idle

    def close(self) -> None:
        """Fail what waits, end what runs, and close the backend. Harmless if it is not open."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.stop("was closed", fail_waiting=True)
            self.backend.close()

    @property
    def is_ready(self) -> bool:
        """Whether it takes requests."""
        return self._scheduler is not None and self._scheduler.is_accepting

    @property
    def description(self) -> ModelDescription:
        """What is served, under its name here; known once open."""
        return self._description

    @property
    def instances(self) -> int:
        """How many batches are computed at the same time; known once open."""
        return self._opened_once().instances

    @property
    def scheduler(self) -> Scheduler:
        """Its queue and counts, for metrics. Raises ServerUnavailable if it is not open."""
        return self._opened()

    def config(self) -> Any:
        """Return its configuration, a ``tritonclient.grpc.model_config_pb2.ModelConfig``; known once open."""
        self._opened_once()
        return self._config

    def statistics(self) -> ModelStatistics:
        """Return what became of the requests that ended since it was opened."""
        return self._opened_once().statistics()

    def submit(self, inputs: Tensors, done: Completion, *, priority: int = 0, timeout_s: float | None = None) -> None:
        """Take a request. Never blocks and never raises; ``done`` ends exactly once.

        Its deadline is that of ``done``. It ends with a `Reply` whose times are filled, or with `BadRequest`,
        `Overloaded`, `DeadlineExceeded`, `ServerUnavailable` (the model is ending) or another `ExternalError`.

        Args:
            inputs: by the names of the model's inputs; not changed until ``done`` has ended.
            done: who waits; giving it up frees the place in the queue.
            priority: 1 is served first; 0: the model's default (Triton's convention).
            timeout_s: how long it may wait in the queue, if the model's policy lets requests say so.
        """
        scheduler = self._scheduler
        if scheduler is None:
            done.fail(ServerUnavailable(f"model '{self.name}' is not open"))
            return
        now_ns = self._clock.now_ns()
        try:
            rows = self._validator.rows_of_request(inputs)
            kind = self._kind(inputs) if self._has_kinds else ()
        except BadRequest as error:
            scheduler.refuse(done, error)
            return
        except Exception as error:
            scheduler.refuse(done, BadRequest(f"model '{self.name}': the request cannot be read: {error!r}"))
            return
        level = self.settings.level_of(priority)
        wait_s = self.settings.policy_of(level).wait_s(timeout_s)
        expires_ns = done.deadline_ns
        if wait_s is not None:
            end_ns = now_ns + round(wait_s * 1e9)
            expires_ns = end_ns if expires_ns is None else min(expires_ns, end_ns)
        size_bytes = sum([array.nbytes for array in inputs.values()])
        scheduler.take(
            Queued(
                inputs, rows, kind, done, now_ns, priority, level=level, size_bytes=size_bytes, expires_ns=expires_ns
            )
        )

    def _kind(self, inputs: Tensors) -> tuple[Any, ...]:
        """Return what must be equal for requests to share a batch, where the model leaves it free."""
        specs = self._description.inputs
        if specs:
            return tuple(inputs[spec.name].shape[1:] for spec in specs)
        return tuple((name, inputs[name].dtype, inputs[name].shape[1:]) for name in sorted(inputs))

    def _opened(self) -> Scheduler:
        if self._scheduler is None:
            raise ServerUnavailable(f"model '{self.name}' is not open")
        return self._scheduler

    def _opened_once(self) -> Scheduler:
        if self._latest is None:
            raise ServerUnavailable(f"model '{self.name}' is not open")
        return self._latest

    def __repr__(self) -> str:
        return f"<HostedModel {self.name}/{self.version} {self.backend.url}>"
