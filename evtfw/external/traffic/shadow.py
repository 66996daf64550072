"""``shadow(main, second)``: compares part of the replies with those of a second backend, beside the job."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.core.errors import ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.alike import check_alike, differences, named
from evtfw.external.contract import Backend, ModelDescription, Recipe, Reply, Request, Tensors, inputs_of
from evtfw.external.delivery import deliver
from evtfw.external.nested import read_url
from evtfw.external.traffic.comparisons import Comparisons, ShadowStatistics
from evtfw.external.urls import OptionReader, make_backend, parse_url


def shadow(
    main: str | Backend | Recipe,
    second: str | Backend | Recipe,
    *,
    fraction: float = 0.1,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    max_outstanding: int = 64,
) -> Shadow:
    """Return a backend value for a configuration: ask ``main``, and compare part of its replies with ``second``'s.

    Args:
        main: answers.
        second: is asked too, and its replies are thrown away after the comparison.
        fraction: of the requests that go to the second; the same ones each time, whatever their order.
        rtol, atol: numbers may differ by ``atol + rtol * abs(main's)``.
        max_outstanding: comparisons at the same time; further ones are left out and counted.

    Raises:
        ValueError: the fraction is not from 0 to 1, or another number is negative.

    >>> shadow("cpu:toptag", "triton+grpc://host:8001/toptag", fraction=0.01)
    shadow('cpu:toptag', 'triton+grpc://host:8001/toptag', fraction=0.01)
    """
    return Shadow(main, second, fraction, rtol, atol, max_outstanding)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Shadow:
    """What `shadow` returns; a `Recipe`."""

    main: str | Backend | Recipe
    second: str | Backend | Recipe
    fraction: float = 0.1
    rtol: float = 1e-5
    atol: float = 1e-8
    max_outstanding: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction is the part of the requests to compare, from 0 to 1, not {self.fraction}")
        if not (self.rtol >= 0 and self.atol >= 0 and self.max_outstanding >= 1):
            raise ValueError("rtol and atol must not be negative, and max_outstanding must be at least 1")

    def make(self) -> ShadowBackend:
        """Make the backend. Raises ValueError as `make_backend` does."""
        return ShadowBackend(make_backend(self.main), make_backend(self.second), self, url=repr(self))

    def __repr__(self) -> str:
        options = "".join(
            f", {field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)[2:]
            if getattr(self, field.name) != field.default
        )
        return f"shadow({self.main!r}, {self.second!r}{options})"


class ShadowBackend(Backend):
    """Passes requests on to the main backend, and some also to a second one, in a thread of its own.

    The reply of the main backend is handed on unchanged, before anything is compared; what happens to the second is
    only counted. At the end of the job, the user is told what differed. The URL is
    ``shadow:?of=MAIN&with=SECOND&fraction=0.1&rtol=1e-5&atol=1e-8&max_outstanding=64``, the inner URLs as for
    ``record:``. If the second cannot be reached at the start, the job goes on without comparisons, and says so.

    Args:
        main, second: opened and closed with this one.
        settings: the other arguments of `shadow`.
        drain_s: how long the end of the job waits for comparisons under way, in real time.
        url: for messages.
    """

    def __init__(
        self,
        main: Backend,
        second: Backend,
        settings: Shadow | None = None,
        *,
        drain_s: float = 5.0,
        url: str = "",
    ) -> None:
        self.url = url or f"shadow({main.url}, {second.url})"
        self._main = main
        self._second = second
        self._settings = settings or Shadow(main, second)
        self._drain_s = drain_s
        self._threshold = round(self._settings.fraction * 2**32)
        self._comparisons: Comparisons | None = None
        self._said: Callable[[str], None] | None = None

    @classmethod
    def from_url(cls, url: str) -> ShadowBackend:
        """See `Backend.from_url`."""
        parsed = parse_url(url)
        options = OptionReader(parsed)
        of, second = read_url(options, "of"), read_url(options, "with")
        numbers = {name: options.number(name, value, at_least=0) for name, value in _DEFAULTS.items()}
        max_outstanding = options.integer("max_outstanding", 64, at_least=1)
        options.finish()
        if not of or not second or parsed.path or parsed.authority:
            raise ValueError(f"'{url}': write shadow:?of=URL&with=URL, e.g. 'shadow:?of=cpu:a&with=cpu:b&fraction=0.1'")
        try:
            settings = Shadow(of, second, **numbers, max_outstanding=max_outstanding)
        except ValueError as error:
            raise ValueError(f"'{url}': {error}") from None
        return cls(make_backend(of), make_backend(second), settings, url=url)

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._main.open(context)
        self._comparisons = None
        try:
            self._second.open(context)
        except ExternalError as error:
            self._second.close()
            context.say(f"cannot use {named(self._second, error)}; nothing is compared with it")
            return
        check_alike([self._main, self._second])
        for line in differences([self._main, self._second]):
            context.say(line)
        self._said = context.say
        self._comparisons = Comparisons(self._second, context.clock, self._settings)

    def close(self) -> None:
        """Close both backends, and tell what differed."""
        comparisons, self._comparisons = self._comparisons, None
        self._main.close()
        if comparisons is not None:
            comparisons.drain(self._drain_s)
        self._second.close()
        if comparisons is not None and self._said is not None:
            comparisons.close()
            self._last = comparisons.statistics()
            self._said(f"{self._last.text(self._main.url, self._second.url)}")

    def flush(self) -> None:
        """See `Backend.flush`."""
        self._main.flush()
        if self._comparisons is not None:
            self._second.flush()

    @property
    def slots(self) -> int:
        """Those of the main backend."""
        return self._main.slots

    @property
    def local_threads(self) -> int:
        """Those of both backends."""
        return self._main.local_threads + (self._second.local_threads if self._comparisons is not None else 0)

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return f"{self._main.summary}, compared with {self._second.url}"

    def describe(self) -> ModelDescription:
        """Return what the main backend serves."""
        return self._main.describe()

    def statistics(self) -> ShadowStatistics:
        """Return what was compared so far, or until it was closed."""
        if self._comparisons is not None:
            return self._comparisons.statistics()
        return self._last

    _last = ShadowStatistics()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        comparisons = self._comparisons
        if comparisons is None:
            self._main.submit(request, done)
            return
        try:
            inputs = inputs_of(request)
            is_taken = comparisons.takes(_lot(inputs) < self._threshold)
            # They are lent only until the main reply is there.
            kept = {name: array.copy() for name, array in inputs.items()} if is_taken else {}
        except (AttributeError, TypeError):
            is_taken, kept = False, {}  # the main backend says what is wrong with it
        if not is_taken:
            self._main.submit(request, done)
            return
        comparison = comparisons.begin(Request(kept), done.name)

        def ended(reply: Any, error: BaseException | None) -> None:
            outcome: Reply | BaseException = reply if error is None else error
            deliver(done, outcome)
            comparison.main_ended(outcome)

        main_done = _MainCompletion(ended, parent=done)
        main_done.given_up = comparison.main_given_up
        self._main.submit(request, main_done)
        comparisons.ask(comparison)


class _MainCompletion(CallbackCompletion):
    """The main request; if it is given up, there is nothing to compare."""

    __slots__ = ("given_up",)

    def cancel(self) -> None:
        """See `CallbackCompletion.cancel`."""
        super().cancel()
        self.given_up()

    given_up: Callable[[], None]


_DEFAULTS = {"fraction": 0.1, "rtol": 1e-5, "atol": 1e-8}


def _lot(inputs: Tensors) -> int:
    """Return a number from 0 to 2³² that depends on the values only: quick, and as good as drawn."""
    lot = 0
    for array in inputs.values():
        if array.dtype.hasobject:
            lot = zlib.crc32(repr(array.tolist()).encode("utf-8", "surrogatepass"), lot)
            continue
        data = np.ascontiguousarray(array).reshape(-1)
        if data.nbytes:
            flat = data.view(np.uint8)
            whole = len(flat) // 8 * 8
            lot = zlib.crc32(np.bitwise_xor.reduce(flat[:whole].view(np.uint64)).tobytes(), lot) if whole else lot
            lot = zlib.crc32(flat[whole:].tobytes(), lot)
        lot = zlib.crc32(str(array.shape).encode(), lot)
    return lot
