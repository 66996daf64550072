from __future__ import annotations

import threading

from evtfw.core import clock
from evtfw.core.clock import RealClock


def timer_threads():
    return [thread for thread in threading.enumerate() if thread.name == "evtfw-timer"]


def test_timers_ring_in_the_order_of_their_times():
    real, rung, last = RealClock(), [], threading.Event()
    real.call_later(0.5, last.set)
    real.call_later(0.2, lambda: rung.append("second"))
    real.call_later(0.0, lambda: rung.append("first"))
    assert last.wait(10)
    assert rung == ["first", "second"]


def test_a_cancelled_timer_does_not_ring():
    real, rung, last = RealClock(), [], threading.Event()
    real.call_later(0.001, lambda: rung.append("cancelled")).cancel()
    real.call_later(0.2, last.set)
    assert last.wait(10)
    assert rung == []


def test_the_thread_ends_when_there_is_nothing_to_wait_for_and_comes_back(monkeypatch):
    monkeypatch.setattr(clock, "_IDLE_S", 0.01)
    before = set(timer_threads())
    real, rung = RealClock(), threading.Event()
    far = real.call_later(3600, rung.set)
    soon = threading.Event()
    real.call_later(0.001, soon.set)
    assert soon.wait(10)
    far.cancel()
    for thread in set(timer_threads()) - before:
        thread.join(10)
        assert not thread.is_alive(), "a cancelled timer is nothing to wait for"
    real.call_later(0.0, rung.set)
    assert rung.wait(10)
