import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from evtfw.core.errors import ConfigurationError, ExternalError, ServerUnavailable
from evtfw.external.errors import ModelNotFound
from evtfw.external.mock import MockBackend
from evtfw.external.service.metrics import ServiceCollector
from evtfw.external.service.model import HostedModel
from evtfw.external.service.service import Service
from tests.external.conftest import ROWS, ManualClock, Outcome, rows


def model(name="rows", version="1", **options):
    return HostedModel(name, MockBackend(lambda x: {"y": x["x"]}, description=ROWS, **options), version=version)


def ask(hosted, *values):
    outcome = Outcome()
    hosted.submit(rows(*values), outcome.done)
    return outcome


def test_models_are_found_by_name_and_version():
    service = Service([model(version="9"), model(version="10"), model("other")])
    assert not service.is_ready
    service.start()
    assert service.is_ready
    assert service.find("rows").version == "10"
    assert service.find("rows", "9").version == "9"
    with pytest.raises(ModelNotFound, match="did you mean 'rows'"):
        service.find("row")
    with pytest.raises(ModelNotFound, match="no version '3'; there is 10, 9"):
        service.find("rows", "3")
    service.close()
    assert not service.is_ready
    with pytest.raises(ConfigurationError, match="two models"):
        Service([model(), model()])


def test_if_one_model_cannot_be_opened_the_others_are_closed():
    good, bad = model(), HostedModel("bad", MockBackend.from_url("mock:x?open=fail"))
    with pytest.raises(ServerUnavailable, match="not reachable"):
        Service([good, bad]).start()
    assert not good.is_ready


def test_draining_has_a_time_limit():
    hosted = model(manual=True)
    with Service([hosted]) as service:
        outcome = ask(hosted, 1)
        assert not service.drain(0)
        assert not service.is_ready
        assert isinstance(ask(hosted, 1).error, ServerUnavailable)
        threading.Timer(0, hosted.backend.pending[0].resolve).start()
        assert service.drain(30)
        assert outcome.reply


class Loader:
    def __init__(self):
        self.error = None
        self.loads = 0

    def load(self, name):
        self.loads += 1
        if self.error:
            raise self.error
        return [model(name, str(self.loads))]


def test_models_are_loaded_and_unloaded_while_it_runs():
    loader = Loader()
    with Service([], loader=loader) as service:
        service.load("new")
        first = service.find("new")
        assert ask(first, 1).reply
        service.load("new")
        assert service.find("new").version == "2"
        assert not first.is_ready
        loader.error = ExternalError("damaged")
        with pytest.raises(ExternalError):
            service.load("new")
        assert service.find("new").is_ready
        service.unload("new")
        with pytest.raises(ModelNotFound):
            service.unload("new")
    with pytest.raises(ServerUnavailable):
        service.load("new")


def test_metrics_tell_what_happened():
    clock = ManualClock()
    hosted = model(manual=True)
    with Service([hosted], clock=clock) as service:
        for value in range(3):
            ask(hosted, value)
        clock.advance(0.02)
        hosted.backend.pending[0].resolve()
        registry = CollectorRegistry()
        registry.register(ServiceCollector(service))
        text = generate_latest(registry).decode()
    label = 'model="rows",version="1"'
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    outcomes = {key: value for key, value in values.items() if key.startswith("evtfw_requests_total")}
    assert {key.split('outcome="')[1].split('"')[0]: float(value) for key, value in outcomes.items()} == {
        "success": 1,
        "fail": 0,
        "cancel": 0,
        "reject": 0,
    }
    assert float(values[f"evtfw_requests_waiting{{{label}}}"]) == 0
    assert float(values[f"evtfw_executions_in_flight{{{label}}}"]) == 1
    assert float(values[f"evtfw_compute_seconds_sum{{{label}}}"]) == pytest.approx(0.02)
    assert float(values[f"evtfw_batch_rows_count{{{label}}}"]) == 1
    assert float(values[f"evtfw_ready{{{label}}}"]) == 1
