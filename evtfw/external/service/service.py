"""The models that one service offers, and its life: start, drain, close."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from evtfw.core.clock import Clock, RealClock
from evtfw.core.errors import ConfigurationError, ServerUnavailable, nearest
from evtfw.core.executor import usable_cores
from evtfw.core.resource import JobContext
from evtfw.external.errors import ModelNotFound
from evtfw.external.service.model import HostedModel

_MANY_STREAMS: Final = 1 << 16
_UNLOAD_S: Final = 10.0


class Loader(Protocol):
    """Where models come from while the service runs; `evtfw.external.service.repository.ModelRepository` is one."""

    def load(self, name: str) -> list[HostedModel]:
        """Make the versions of a model that shall be served, not opened yet. Raises an EvtfwError if it cannot."""


class Service:
    """A set of hosted models; what an endpoint speaks for, and usable without one in the same process.

    Args:
        models: name and version must differ.
        clock: another one than the machine's, for tests.
        threads: processor cores to use; 0: all that this process may.
        say: tells the operator one line.
        loader: finds models for `load`.

    Raises:
        ConfigurationError: two models have the same name and version.
    """

    def __init__(
        self,
        models: Sequence[HostedModel],
        *,
        clock: Clock | None = None,
        threads: int = 0,
        say: Callable[[str], None] | None = None,
        loader: Loader | None = None,
    ) -> None:
        self._clock = clock or RealClock()
        self._threads = threads or usable_cores()
        self._say = say or _say_nothing
        self._loader = loader
        self._changing = threading.Lock()  # held while models are opened and closed, never by requests
        self._models: dict[str, dict[str, HostedModel]] = {}
        self._is_serving = False
        for model in models:
            versions = self._models.setdefault(model.name, {})
            if model.version in versions:
                raise ConfigurationError(f"there are two models '{model.name}' of version {model.version}")
            versions[model.version] = model

    @property
    def clock(self) -> Clock:
        """The service's time."""
        return self._clock

    @property
    def models(self) -> tuple[HostedModel, ...]:
        """All models and versions."""
        return tuple(model for versions in list(self._models.values()) for model in versions.values())

    @property
    def is_ready(self) -> bool:
        """Whether it is started, not ending, and all models take requests."""
        return self._is_serving and all(model.is_ready for model in self.models)

    def find(self, name: str, version: str = "") -> HostedModel:
        """Return a model.

        Args:
            name: of the model.
            version: the latest if empty.

        Raises:
            ModelNotFound: there is none of this name or version; the message has the nearest names.
        """
        versions = self._models.get(name)
        if not versions:
            raise ModelNotFound(f"there is no model '{name}' here{nearest(name, self._models)}")
        if not version:
            return versions[max(versions, key=_rank)]
        found = versions.get(version)
        if found is None:
            raise ModelNotFound(f"model '{name}' has no version '{version}'; there is {', '.join(sorted(versions))}")
        return found

    def start(self) -> None:
        """Open all models.

        Raises:
            ExternalError, ConfigurationError: one of them cannot serve; those that were open are closed again.
        """
        try:
            self._open(self.models)
        except BaseException:
            self.close()
            raise
        self._is_serving = True

    def load(self, name: str) -> None:
        """Serve a model of the repository as it is there now; requests for the one before, if any, end first.

        Raises:
            ServerUnavailable: there is no repository, or the service is ending.
            EvtfwError: the model cannot be served; what was served under its name before still is.
        """
        if self._loader is None or not self._is_serving:
            raise ServerUnavailable("this service has no repository to load models from, or is ending")
        with self._changing:
            models = self._loader.load(name)
            try:
                self._open(models)
            except BaseException:
                for model in models:
                    model.close()
                raise
            before = self._models.get(name, {})
            self._models[name] = {model.version: model for model in models}
            self._end(tuple(before.values()))

    def unload(self, name: str) -> None:
        """Serve a model no more; requests that are there end first. Raises ModelNotFound if it is not served."""
        with self._changing:
            self.find(name)
            self._end(tuple(self._models.pop(name).values()))

    def _open(self, models: Sequence[HostedModel]) -> None:
        context = JobContext(self._clock, self._threads, _MANY_STREAMS, self._say)
        for model in models:
            model.open(context)

    def _end(self, models: Sequence[HostedModel]) -> None:
        for model, idle in [(model, model.start_draining()) for model in models]:
            idle.wait(_UNLOAD_S)
            model.close()

    def drain(self, timeout_s: float) -> bool:
        """Refuse what comes now and let what waits and runs end. Returns whether it did in time."""
        self._is_serving = False
        idle = [model.start_draining() for model in self.models]
        end_s = time.monotonic() + timeout_s
        return all(event.wait(max(0.0, end_s - time.monotonic())) for event in idle)

    def close(self) -> None:
        """Close all models; what still waits fails."""
        self._is_serving = False
        with contextlib.ExitStack() as stack:  # an error in one does not keep the others open
            for model in self.models:
                stack.callback(model.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rank(version: str) -> tuple[bool, int, str]:
    return (True, int(version), "") if version.isdecimal() else (False, 0, version)


def _say_nothing(line: str) -> None:
    """Nobody is there to be told."""
