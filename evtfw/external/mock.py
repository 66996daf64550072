"""A backend in memory: replies come from a function, or from the test itself in any order it likes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import TypeAlias

import evtfw.core.errors
from evtfw.core.completion import Completion
from evtfw.core.errors import ExternalError, ServerUnavailable, nearest
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, ModelDescription, Provenance, Reply, Request, Tensors, inputs_of
from evtfw.external.delivery import deliver
from evtfw.external.tensor_specs import parse_tensor_specs, zeros
from evtfw.external.urls import BackendUrl, OptionReader, parse_url
from evtfw.external.validate import Validator

Answer: TypeAlias = Callable[[Tensors], Tensors]


def echo(inputs: Tensors) -> Tensors:
    """Return the inputs."""
    return inputs


class MockBackend(Backend):
    """Answers inside `submit` with what a function makes of the inputs.

    The URL ``mock:NAME`` echoes. Options: ``inputs`` and ``outputs`` give the tensors, e.g.
    ``outputs=probability:float32[?,2];mass:float32[?]`` (they are then zeros); ``fail_every=N`` fails each Nth request
    with ``error=NAME`` of `evtfw.core.errors`; ``open=fail`` cannot be reached.

    Args:
        answer: makes the outputs from the inputs; what it raises fails the request.
        description: checked against, if given.
        manual: requests wait in `pending` until the test ends them.
        slots: what `Backend.slots` says.

    >>> import numpy as np
    >>> from evtfw.core.completion import CallbackCompletion
    >>> backend = MockBackend(lambda inputs: {"double": 2 * inputs["x"]})
    >>> backend.submit({"x": np.arange(3)}, CallbackCompletion(lambda reply, error: print(reply["double"])))
    [0 2 4]
    """

    def __init__(
        self,
        answer: Answer = echo,
        *,
        description: ModelDescription | None = None,
        manual: bool = False,
        slots: int = 1,
        url: str = "mock:",
    ) -> None:
        self.url = url
        self.pending: list[PendingRequest] = []
        """In manual mode, requests in the order of arrival that were not ended yet."""
        self._answer = answer
        self._description = description or ModelDescription("mock")
        self._validator = Validator(description, url) if description is not None else None
        self._provenance = Provenance(
            url, model=self._description.name, version=self._description.version, sha256=self._description.sha256
        )
        self._manual = manual
        self._slots = slots
        self._open_error = ""

    @classmethod
    def from_url(cls, url: str) -> MockBackend:
        """See `Backend.from_url`."""
        parsed = parse_url(url)
        options = OptionReader(parsed)
        inputs, outputs = (parse_tensor_specs(parsed, options.text(side, "")) for side in ("inputs", "outputs"))
        fail_every = options.integer("fail_every", 0, at_least=0)
        error = _error_class(parsed, options.text("error", "ServerUnavailable"))
        reachable = options.choice("open", "ok", ("ok", "fail"))
        options.finish()
        description = ModelDescription(parsed.path or "mock", inputs=inputs, outputs=outputs, max_batch_size=None)
        answer: Answer = functools.partial(zeros, outputs) if outputs else echo
        if fail_every:
            answer = _failing(answer, fail_every, error, url)
        backend = cls(answer, description=description, url=url)
        if reachable == "fail":
            backend._open_error = f"{url} is not reachable, as its URL asks for"
        return backend

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        if self._open_error:
            raise ServerUnavailable(self._open_error)

    def close(self) -> None:
        """See `Backend.close`."""
        for request in self.pending[:]:
            request.fail(ExternalError(f"{self.url} was closed before it answered"))

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return self._slots

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        return self._description

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        if self._manual:
            self.pending.append(PendingRequest(self, request, done))
            return
        try:
            reply = self.reply_to(inputs_of(request))
        except Exception as error:
            done.fail(error)
        else:
            done.resolve(reply)

    def reply_to(self, inputs: Tensors) -> Reply:
        """Return the reply that the function makes, checked against the description."""
        if self._validator is None:
            return Reply(self._answer(inputs), self._provenance)
        rows = self._validator.rows_of_request(inputs)
        outputs = self._answer(inputs)
        self._validator.check_reply(outputs, rows)
        return Reply(outputs, self._provenance)


class PendingRequest:
    """A request that a test ends by hand.

    Attributes:
        request: as submitted.
        was_cancelled: whether whoever waited gave up.
    """

    def __init__(self, backend: MockBackend, request: Request | Tensors, done: Completion) -> None:
        self.request = request
        self.was_cancelled = False
        self._backend = backend
        self._done: Completion | None = done
        done.on_cancel(self)

    @property
    def inputs(self) -> Tensors:
        """The named arrays."""
        return inputs_of(self.request)

    def resolve(self, outputs: Tensors | None = None) -> None:
        """Answer with these outputs, unchecked, or with what the backend's function makes."""
        outcome: Reply | BaseException
        try:
            if outputs is None:
                outcome = self._backend.reply_to(self.inputs)
            else:
                outcome = Reply(outputs, self._backend._provenance)
        except Exception as error:
            outcome = error
        self._end(outcome)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self._end(error)

    def drop(self) -> None:
        """Let go of the completion without ending it, as a faulty backend would."""
        self._backend.pending.remove(self)
        self._done = None

    def cancel(self) -> None:
        """Whoever waited gave up."""
        self.was_cancelled = True

    def _end(self, outcome: Reply | BaseException) -> None:
        done, self._done = self._done, None
        self._backend.pending.remove(self)
        if done is not None:
            deliver(done, outcome)


def _failing(answer: Answer, every: int, error: type[ExternalError], url: str) -> Answer:
    numbers = itertools.count(1)

    def answer_or_fail(inputs: Tensors) -> Tensors:
        number = next(numbers)
        if number % every == 0:
            raise error(f"{url} fails request {number}, as its URL asks for")
        return answer(inputs)

    return answer_or_fail


def _error_class(url: BackendUrl, name: str) -> type[ExternalError]:
    known: Mapping[str, type[ExternalError]] = {
        key: value
        for key, value in vars(evtfw.core.errors).items()
        if isinstance(value, type) and issubclass(value, ExternalError)
    }
    if name not in known:
        raise ValueError(f"'{url}': there is no error '{name}'{nearest(name, known)}")
    return known[name]
