from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from evtfw.core.clock import RealClock
from evtfw.core.errors import ConfigurationError, ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.contract import ModelDescription
from evtfw.external.mock import MockBackend
from evtfw.external.traffic.compare import compare
from evtfw.external.traffic.shadow import Shadow, ShadowBackend, shadow
from evtfw.external.urls import make_backend
from tests.external.conftest import ROWS, Outcome, rows, submit


@pytest.fixture
def clock():
    return RealClock()


def adding(offset, url="mock:main", **options):
    def answer(inputs):
        return {"y": inputs["x"] + np.float32(offset)}

    return MockBackend(answer, description=ROWS, url=url, **options)


def opened(context, main, second, drain_s=30.0, **settings):
    backend = ShadowBackend(main, second, Shadow("", "", **{"fraction": 1.0} | settings), drain_s=drain_s)
    backend.open(context)
    return backend


def test_equal_backends_do_not_differ(context, said):
    backend = opened(context, adding(1), adding(1, "mock:second"))
    outcomes = [submit(backend, rows(i)) for i in range(20)]
    assert [o.reply["y"][0, 0] for o in outcomes] == [i + 1 for i in range(20)]
    assert outcomes[0].reply.provenance.backend == "mock:main"
    backend.close()
    counts = backend.statistics()
    assert (counts.requests, counts.chosen, counts.compared, counts.differing) == (20, 20, 20, 0)
    assert said == ["20 of 20 replies of mock:main compared with mock:second: none differs"]


def test_differences_are_counted_and_named(context, said):
    backend = opened(context, adding(0), adding(0.5, "mock:second"), atol=0.1)
    for i in range(1, 9):
        submit(backend, rows(1, i), name=f"module 'toptag' in event 1:1:{i}")
    backend.close()
    counts = backend.statistics()
    assert counts.compared == counts.differing == 8
    assert counts.max_abs_difference == 0.5
    assert counts.max_rel_difference == 0.5
    assert len(counts.first_differences) == 5
    assert counts.first_differences[0].startswith(
        "module 'toptag' in event 1:1:1: 'y': 2 of 2 elements, e.g. y[0, 0] 1.5"
    )
    assert "8 differ (module 'toptag' in event 1:1:1" in said[0]
    assert "by up to 0.5 (relative 0.5)" in said[0]


def test_the_main_reply_does_not_wait_for_the_second(context):
    second = adding(0, "mock:second", manual=True)
    backend = opened(context, adding(0), second, max_outstanding=3, drain_s=0)
    outcomes = [submit(backend, rows(i)) for i in range(5)]
    assert all(o.is_there for o in outcomes)
    backend.close()
    counts = backend.statistics()
    assert (counts.dropped, counts.compared, counts.second_failed) == (2, 0, 3)


def test_a_second_that_fails_is_only_counted(context, said):
    def refuse(inputs):
        raise ServerUnavailable("no GPU")

    backend = opened(context, adding(0), MockBackend(refuse, description=ROWS, url="mock:second"))
    assert submit(backend, rows(1)).error is None
    backend.close()
    assert backend.statistics().second_failed == 1
    assert "1 without a reply of the second (no GPU)" in said[0]


def test_a_main_that_fails_or_is_given_up_is_not_compared(context):
    main = adding(0, manual=True)
    backend = opened(context, main, adding(0, "mock:second"))
    failing, given_up = submit(backend, rows(1)), Outcome()
    backend.submit(rows(2), given_up.done)
    given_up.done.cancel()
    main.pending[0].fail(ServerUnavailable("gone"))
    assert str(failing.error) == "gone"
    assert main.pending[0].was_cancelled
    backend.close()
    assert backend.statistics().main_failed == 2


def test_a_fraction_is_chosen_by_what_is_asked(context):
    def chosen(order):
        asked = []
        answered = threading.Event()

        def second(inputs):
            asked.append(int(inputs["x"][0, 0]))
            return {"y": inputs["x"]}

        backend = opened(
            context, adding(0), MockBackend(second, description=ROWS), fraction=0.25, max_outstanding=10_000
        )
        for i in order:
            submit(backend, rows(i, i + 1, i + 2))
        backend.close()
        del answered
        return sorted(asked)

    forwards = chosen(range(1000))
    assert forwards == chosen(reversed(range(1000)))
    assert len(forwards) == pytest.approx(250, abs=50)


def test_inputs_are_lent_until_the_main_reply_only(context):
    seen = []

    def second(inputs):
        seen.append(float(inputs["x"][0, 0]))
        return {"y": inputs["x"]}

    backend = opened(context, adding(0), MockBackend(second, description=ROWS), max_outstanding=1000)
    lent = rows(0)
    for i in range(100):
        lent["x"][:] = i
        submit(backend, lent)
    backend.close()
    assert sorted(seen) == list(range(100))


def test_without_the_second_the_job_goes_on(context, said):
    backend = opened(context, adding(0), make_backend("mock:second?open=fail"))
    assert submit(backend, rows(1)).error is None
    backend.close()
    assert len(said) == 1
    assert "nothing is compared with it" in said[0]


def test_another_kind_of_model_is_a_mistake(context):
    other = MockBackend(description=ModelDescription("other", outputs=ROWS.inputs, max_batch_size=None))
    with pytest.raises(ConfigurationError):
        opened(context, adding(0), other)


def test_wrong_requests_are_the_main_backends_business(context):
    backend = opened(context, adding(0), adding(0))
    assert submit(backend, {"x": 5}).error is not None
    backend.close()


def test_a_second_that_never_answers_times_out(said):
    from evtfw.core.simulation import VirtualClock

    clock = VirtualClock()
    second = adding(0, "mock:second", manual=True)
    backend = opened(JobContext(clock, 1, 1, said.append), adding(0), second)
    submit(backend, rows(1))
    asked = threading.Event()
    backend._comparisons._later(asked.set)
    assert asked.wait(30)
    while clock.advance():
        pass
    backend.close()
    assert "no reply within 60 s" in backend.statistics().first_failure


def test_values_and_urls(context):
    value = shadow("mock:a", "mock:b", fraction=0.5, rtol=0.01)
    assert repr(value) == "shadow('mock:a', 'mock:b', fraction=0.5, rtol=0.01)"
    assert eval(repr(value), {"shadow": shadow}) == value == pickle.loads(pickle.dumps(value))
    backend = make_backend("shadow:?of=mock:a&with=mock:b%3Ffail_every=1%26error=BadReply&fraction=1&rtol=0.01")
    backend.open(context)
    assert submit(backend, rows(1)).error is None
    backend.close()
    assert backend.statistics().second_failed == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("shadow:?of=mock:a", "write shadow:"),
        ("shadow:?of=mock:a&with=mock:b&fraction=2", "from 0 to 1"),
        ("shadow:?of=mock:a&with=mock:b&rtl=2", "there is no option 'rtl'"),
    ],
)
def test_a_wrong_url_is_refused(url, message):
    with pytest.raises(ValueError, match=message):
        make_backend(url)


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        ([1.0, np.nan, np.inf], [1.0 + 1e-9, np.nan, np.inf], ""),
        ([1.0], [1.1], "'y': 1 of 1 elements, e.g. y[0] 1.1, not 1.0"),
        ([1.0], [np.nan], "'y': 1 of 1"),
        ([np.inf], [-np.inf], "'y': 1 of 1"),
        ([np.inf], [5.0], "'y': 1 of 1"),
        ([1, 2], [1, 3], "'y': 1 of 2"),
        ([True], [False], "'y': 1 of 1"),
        ([], [], ""),
        ([1.0], [1.0, 2.0], "'y': float64 [2], not float64 [1]"),
        (["a", b"b"], ["a", b"c"], "'y': 1 of 2"),
    ],
)
def test_comparing(ours, theirs, text):
    kind = object if ours and isinstance(ours[0], str) else None
    found = compare({"y": np.array(ours, kind)}, {"y": np.array(theirs, kind)}, rtol=1e-5, atol=1e-8).text
    assert found.startswith(text)
    assert bool(found) == bool(text)


def test_comparing_names():
    assert compare({"y": np.zeros(1)}, {"z": np.zeros(1)}, rtol=0, atol=0).text == (
        "'y' comes from the first only; 'z' comes from the second only"
    )
