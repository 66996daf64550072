"""A service's counts for Prometheus, read from the models' statistics when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from evtfw.core.errors import ConfigurationError, ServerUnavailable
from evtfw.external.service.statistics import OUTCOMES, Histogram

if TYPE_CHECKING:
    from evtfw.external.service.model import HostedModel
    from evtfw.external.service.scheduler import Scheduler
    from evtfw.external.service.service import Service

_LABELS = ("model", "version")


class ServiceCollector:
    """What Prometheus collects, one family of numbers after the other; all have the labels model and version.

    Args:
        service: whose models are counted.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Any]:
        """Yield the families."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        models = [(model, scheduler) for model in self._service.models if (scheduler := _scheduler(model)) is not None]
        requests = CounterMetricFamily(
            "evtfw_requests", "Requests that ended, by outcome", labels=(*_LABELS, "outcome")
        )
        rows = CounterMetricFamily("evtfw_inferences", "Rows of answered requests", labels=_LABELS)
        gauges: list[tuple[str, str, Callable[[Scheduler], float]]] = [
            ("evtfw_requests_waiting", "Requests in the queue", lambda s: s.waiting),
            ("evtfw_requests_waiting_bytes", "Input arrays in the queue", lambda s: s.waiting_bytes),
            ("evtfw_executions_in_flight", "Batches that are computed", lambda s: s.running),
            ("evtfw_instances", "Batches that can be computed at the same time", lambda s: s.instances),
            ("evtfw_ready", "1 if the model takes requests", lambda s: s.is_accepting),
        ]
        histograms: list[tuple[str, str, Callable[[Scheduler], Histogram]]] = [
            ("evtfw_queue_seconds", "Wait of answered requests", lambda s: s.recorder.queue_seconds),
            ("evtfw_compute_seconds", "Time of executions", lambda s: s.recorder.compute_seconds),
            ("evtfw_batch_rows", "Rows of executions", lambda s: s.recorder.batch_rows),
        ]
        for model, scheduler in models:
            statistics = scheduler.statistics()
            for outcome in OUTCOMES:
                requests.add_metric([model.name, model.version, outcome], getattr(statistics, outcome).count)
            rows.add_metric([model.name, model.version], statistics.inference_count)
        yield from (requests, rows)
        for name, meaning, value in gauges:
            gauge = GaugeMetricFamily(name, meaning, labels=_LABELS)
            for model, scheduler in models:
                gauge.add_metric([model.name, model.version], value(scheduler))
            yield gauge
        for name, meaning, read in histograms:
            family = HistogramMetricFamily(name, meaning, labels=_LABELS)
            for model, scheduler in models:
                histogram = read(scheduler)
                family.add_metric([model.name, model.version], _buckets(histogram), histogram.total)
            yield family


class MetricsServer:
    """Answers Prometheus over HTTP.

    Args:
        service: whose models are counted.
        address: ``HOST:PORT``; port 0 for any free one. There is neither TLS nor a token: keep it to this machine.
    """

    def __init__(self, service: Service, address: str) -> None:
        self._collector = ServiceCollector(service)
        self._host, _, self._port = address.rpartition(":")
        self._address = address
        self._server: Any = None
        self._thread: Any = None

    @property
    def address(self) -> str:
        """Where it listens; known once started."""
        return f"{self._host}:{self._port}"

    def start(self) -> None:
        """Listen. Raises ConfigurationError if the address cannot be used."""
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        registry.register(self._collector)
        try:
            self._server, self._thread = start_http_server(int(self._port), self._host.strip("[]"), registry)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot listen on '{self._address}' for --metrics: {error}") from None
        self._port = str(self._server.server_port)

    def stop(self) -> None:
        """End. Harmless if it does not run."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _scheduler(model: HostedModel) -> Scheduler | None:
    try:
        return model.scheduler
    except ServerUnavailable:
        return None


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    below = 0
    for limit, count in zip((*map(str, histogram.limits), "+Inf"), histogram.counts, strict=True):
        below += count
        buckets.append((limit, below))
    return buckets
