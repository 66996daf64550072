"""The URL of a simulated service, read."""

from __future__ import annotations

import functools

from evtfw.external.batcher import Batcher
from evtfw.external.contract import Backend, ModelDescription
from evtfw.external.nested import read_url
from evtfw.external.sim.backend import Answer, SimBackend, echo
from evtfw.external.sim.faults import WHEN_DOWN, FailureRates, Outage
from evtfw.external.sim.latency import LatencyModel
from evtfw.external.tensor_specs import parse_tensor_specs, zeros
from evtfw.external.urls import BackendUrl, OptionReader, make_backend, parse_url
from evtfw.external.validate import NON_FINITE_POLICIES


def backend_from_url(url: str) -> Backend:
    """Make the backend that an URL ``sim:NAME?…`` describes; see `SimBackend` for the options.

    Raises:
        ValueError: with a message for the user.
    """
    parsed = parse_url(url)
    options = OptionReader(parsed)
    latency = _LatencyOptions(parsed, options).model()
    servers = options.integer("servers", 0, at_least=0)
    queue_limit = _optional(options, "queue")
    failures = {name: options.number(name, 0.0, at_least=0) for name in FailureRates().as_dict()}
    outage = {name: options.number(f"down_{name}", 0.0, at_least=0) for name in ("from_s", "for_s", "every_s")}
    when_down = options.choice("when_down", "refuse", WHEN_DOWN)
    max_batch = options.integer("max_batch", 0, at_least=0)
    max_delay_s = _optional(options, "max_delay_s")
    inner, answer, description = _values(parsed, options)
    seed = options.integer("seed", 0, at_least=0)
    nonfinite = options.choice("nonfinite", "fail", NON_FINITE_POLICIES)
    options.finish()
    if max_delay_s is not None and not max_batch:
        raise ValueError(f"'{url}': max_delay_s is an option of batches; give max_batch as well")
    try:
        rates, down = FailureRates(**failures), Outage(**outage, when_down=when_down)
    except ValueError as error:
        raise ValueError(f"'{url}': {error}") from None
    backend = SimBackend(
        latency,
        servers=servers,
        queue_limit=None if queue_limit is None else int(queue_limit),
        failures=rates,
        outage=down,
        seed=seed,
        answer=answer,
        inner=inner,
        description=description,
        nonfinite="pass" if max_batch else nonfinite,
        url=url,
    )
    if not max_batch:
        return backend
    return Batcher(backend, max_batch=max_batch, max_delay_s=max_delay_s, nonfinite=nonfinite)


def _optional(options: OptionReader, name: str) -> float | None:
    return options.number(name, 0.0, at_least=0) if options.text(name, "") else None


class _LatencyOptions:
    """The options of a latency model; its mean has the shorter name ``latency_ms`` too."""

    def __init__(self, url: BackendUrl, options: OptionReader) -> None:
        self._url = url
        means = [mean for mean in (_optional(options, "latency_ms"), _optional(options, "mean_ms")) if mean is not None]
        if len(means) == 2:
            raise ValueError(f"'{url}': latency_ms and mean_ms are the same; give one of them")
        self._mean_ms = means[0] if means else 0.0
        self._distribution = options.text("distribution", "")
        self._p99_ms, self._sigma, self._shape, self._max_ms = (
            _optional(options, name) for name in ("p99_ms", "sigma", "shape", "max_ms")
        )
        self._min_ms, self._per_row_ms, self._network_ms = (
            options.number(name, 0.0, at_least=0) for name in ("min_ms", "per_row_ms", "network_ms")
        )

    def model(self) -> LatencyModel:
        """Return what was read."""
        try:
            return LatencyModel(
                self._mean_ms,
                self._distribution,
                min_ms=self._min_ms,
                per_row_ms=self._per_row_ms,
                network_ms=self._network_ms,
                p99_ms=self._p99_ms,
                sigma=self._sigma,
                shape=self._shape,
                max_ms=self._max_ms,
            )
        except ValueError as error:
            raise ValueError(f"'{self._url}': {error}") from None


def _values(url: BackendUrl, options: OptionReader) -> tuple[Backend | None, Answer, ModelDescription]:
    """Return who makes the outputs: another backend, or a function for a model of this description."""
    inputs, outputs = (parse_tensor_specs(url, options.text(side, "")) for side in ("inputs", "outputs"))
    kind = options.choice("answer", "zeros" if outputs else "echo", ("zeros", "echo"))
    of = read_url(options, "of")
    description = ModelDescription(url.path or "sim", inputs=inputs, outputs=outputs, max_batch_size=None)
    if of:
        given = [name for name in ("inputs", "outputs", "answer") if options.text(name, "")]
        if given:
            raise ValueError(f"'{url}': {given[0]} is what {of} says; leave it out")
        return make_backend(of), echo, description
    if kind == "echo":
        return None, echo, description
    if not outputs:
        raise ValueError(f"'{url}': zeros of which tensors? write outputs=NAME:DTYPE[?,2]")
    return None, functools.partial(zeros, outputs), description
