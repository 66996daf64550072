from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.external.sim.faults import NEVER_NS, FailureRates, Outage


def test_rates_share_out_the_unit_interval():
    rates = FailureRates(unavailable=0.25, hang=0.5)
    assert [rates.choose(u) for u in (0.0, 0.24, 0.25, 0.74, 0.75, 0.99)] == [
        *["unavailable"] * 2,
        *["hang"] * 2,
        "",
        "",
    ]
    assert not FailureRates().choose(0.0)
    assert FailureRates(nan=1).choose(0.999999) == "nan"


@pytest.mark.parametrize("rates", [{"hang": 1.1}, {"nan": -0.1}, {"hang": 0.6, "drop": 0.6}])
def test_rates_that_are_none_are_refused(rates):
    with pytest.raises(ValueError, match=r"part of the requests|more than all"):
        FailureRates(**rates)


def test_an_outage_happens_once_or_again_and_again():
    once, flapping = Outage(1, 0.5), Outage(1, 0.5, 2)
    at = [0, 0.9, 1, 1.4, 1.5, 2.9, 3, 3.4, 3.5]
    assert [once.is_down(round(t * 1e9)) for t in at] == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert [flapping.is_down(round(t * 1e9)) for t in at] == [0, 0, 1, 1, 0, 0, 1, 1, 0]
    assert Outage().next_down_ns(5) == (NEVER_NS, NEVER_NS)
    with pytest.raises(ValueError, match="never be up"):
        Outage(0, 2, 2)
    with pytest.raises(ValueError, match="refuse or stop"):
        Outage(0, 2, when_down="vanish")


def test_work_is_ended_or_stopped_by_an_outage():
    refusing, stopping = (Outage(1, 0.5, 2, when_down) for when_down in ("refuse", "stop"))
    assert refusing.finish_ns(0, 10**9) == (10**9, False)
    assert refusing.finish_ns(5 * 10**8, 10**9) == (10**9, True)
    assert stopping.finish_ns(5 * 10**8, 10**9) == (2 * 10**9, False)
    assert stopping.finish_ns(1_200_000_000, 10**9) == (2_500_000_000, False)
    assert stopping.finish_ns(0, 4 * 10**9) == (5 * 10**9, False)


@given(st.integers(0, 10**10), st.integers(0, 10**10), st.floats(0, 3), st.floats(0.001, 1), st.floats(1.1, 4))
def test_stopped_work_takes_the_up_time_that_it_needs(start_ns, service_ns, from_s, for_s, every_s):
    outage = Outage(from_s, for_s, every_s, "stop")
    finish_ns, is_broken = outage.finish_ns(start_ns, service_ns)
    down_ns, time_ns = 0, start_ns
    while time_ns < finish_ns:
        begin_ns, end_ns = outage.next_down_ns(time_ns)
        down_ns += max(0, min(end_ns, finish_ns) - max(begin_ns, time_ns))
        time_ns = end_ns
    assert not is_broken
    assert finish_ns - start_ns - down_ns == service_ns
