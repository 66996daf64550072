from __future__ import annotations

import threading

import pytest

from evtfw.core.errors import ExternalError
from evtfw.external.pool import PooledBackend
from tests.external.conftest import ROWS, Outcome, rows, submit


def negated(inputs):
    return {"y": -inputs["x"]}


@pytest.fixture
def opened(context):
    backends = []

    def make(run, threads=1):
        backend = PooledBackend(run, ROWS, threads=threads, name="test", url="test:rows")
        backends.append(backend)
        backend.open(context)
        return backend

    yield make
    for backend in backends:
        backend.close()


def threads_of_pool():
    return [thread for thread in threading.enumerate() if thread.name.startswith("evtfw-test-")]


def test_it_runs_in_threads_of_its_own(opened):
    names = []

    def run(inputs):
        names.append(threading.current_thread().name)
        return negated(inputs)

    reply = submit(opened(run), rows(3)).reply
    assert reply["y"].tolist() == [[-3]]
    assert names == ["evtfw-test-0"]
    assert reply.provenance.version == "3"


def test_it_works_on_as_many_requests_as_it_has_threads(opened):
    together = threading.Barrier(2)

    def run(inputs):
        together.wait(30)
        return negated(inputs)

    backend = opened(run, threads=2)
    assert backend.slots == 2
    outcomes = [submit(backend, rows(i)) for i in range(4)]
    assert [outcome.reply["y"].item() for outcome in outcomes] == [0, -1, -2, -3]


def test_an_error_fails_its_request_and_names_the_backend(opened):
    def run(inputs):
        if inputs["x"].item() == 0:
            raise RuntimeError("no weights")
        return negated(inputs)

    backend = opened(run)
    error = submit(backend, rows(0)).error
    assert isinstance(error, ExternalError)
    assert str(error) == "test:rows failed: RuntimeError: no weights"
    assert isinstance(error.__cause__, RuntimeError)
    assert submit(backend, rows(1)).reply["y"].item() == -1


def test_out_of_memory_stays_what_it_is(opened):
    def run(inputs):
        raise MemoryError

    assert isinstance(submit(opened(run), rows(1)).error, MemoryError)


def test_a_callback_that_raises_does_not_end_the_thread(opened, monkeypatch):
    from evtfw.core.completion import CallbackCompletion

    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    backend = opened(negated)
    backend.submit(rows(1), CallbackCompletion(lambda reply, error: 1 / 0))
    assert submit(backend, rows(2)).reply["y"].item() == -2
    assert [report.exc_type for report in reported] == [ZeroDivisionError]


def test_what_was_given_up_is_not_computed(opened):
    computed, entered, go_on = [], threading.Event(), threading.Event()

    def run(inputs):
        computed.append(inputs["x"].item())
        entered.set()
        go_on.wait(30)
        return negated(inputs)

    backend = opened(run)
    first, second = Outcome(), Outcome()
    backend.submit(rows(1), first.done)
    entered.wait(30)
    backend.submit(rows(2), second.done)
    second.done.cancel()
    go_on.set()
    assert submit(backend, rows(3)).reply["y"].item() == -3
    assert computed == [1, 3]


def test_closing_ends_the_threads_and_fails_what_waits(opened, context):
    entered, go_on = threading.Event(), threading.Event()

    def run(inputs):
        entered.set()
        go_on.wait(30)
        return negated(inputs)

    backend = opened(run)
    running = submit(backend, rows(1))
    entered.wait(30)
    waiting = submit(backend, rows(2))
    closing = threading.Thread(target=backend.close)
    closing.start()
    assert "was closed" in str(waiting.error)
    go_on.set()
    closing.join(30)
    assert running.reply["y"].item() == -1
    assert threads_of_pool() == []
    assert "is not open" in str(submit(backend, rows(3)).error)

    backend.open(context)
    assert submit(backend, rows(4)).reply["y"].item() == -4


def test_closing_is_harmless_before_opening_and_after_closing():
    backend = PooledBackend(negated, ROWS, threads=1, name="test", url="test:rows")
    backend.close()
    backend.close()


def test_a_start_that_fails_half_way_leaves_no_threads(context, monkeypatch):
    backend = PooledBackend(negated, ROWS, threads=2, name="test", url="test:rows")
    start = threading.Thread.start

    def start_one(thread):
        if thread.name == "evtfw-test-1":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError):
        backend.open(context)
    assert threads_of_pool() == []


def test_an_idle_thread_keeps_no_request_alive(opened):
    import weakref

    backend = opened(lambda inputs: {"y": inputs["x"] * 2})
    inputs = rows(1)
    array = weakref.ref(inputs["x"])
    assert submit(backend, inputs).reply["y"].item() == 2
    del inputs
    # A second request is answered by the same thread, so the first is over and done with.
    assert submit(backend, rows(2)).reply["y"].item() == 4
    assert array() is None
