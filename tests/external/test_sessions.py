"""Sessions of one model: how many there are, who gets which."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evtfw.external.sessions import Sessions

PATIENCE_S = 20


class Session:
    """Counts calls that overlap in it; each waits for as many others as there shall be at the same time."""

    def __init__(self, together):
        self.together = together
        self.inside = self.most = self.calls = 0
        self._changing = threading.Lock()

    def run(self, names, inputs):
        with self._changing:
            self.inside += 1
            self.calls += 1
            self.most = max(self.most, self.inside)
        self.together.wait(PATIENCE_S)
        with self._changing:
            self.inside -= 1
        return [inputs]


@pytest.mark.parametrize(
    ("at_most", "threads", "made", "most"), [(1, 1, 1, 1), (3, 2, 2, 1), (2, 2, 2, 1), (2, 4, 2, 3)]
)
def test_calls_that_overlap_get_sessions_of_their_own_up_to_the_limit(at_most, threads, made, most):
    found = []
    together = threading.Barrier(threads)

    def make():
        found.append(Session(together))
        return found[-1]

    sessions = Sessions(make, at_most)
    assert len(found) == 1
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(lambda n: sessions.run(["y"], n), range(threads))) == [[n] for n in range(threads)]
    assert len(found) == made
    assert max(session.most for session in found) == most
    assert sum(session.calls for session in found) == threads


def test_a_session_that_failed_is_used_again():
    class Failing:
        def run(self, names, inputs):
            raise ValueError(inputs)

    made = []
    sessions = Sessions(lambda: made.append(0) or Failing(), 2)
    for number in range(5):
        with pytest.raises(ValueError, match=str(number)):
            sessions.run([], number)
    assert len(made) == 1
