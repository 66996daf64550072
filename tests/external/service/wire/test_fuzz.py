"""The parser against mutated requests; `tests.external.service.wire.fuzz` runs for longer."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.request import RequestReader
from tests.external.service.wire.fuzz import CORPUS, check, run


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_seeds_are_what_their_names_say(path):
    assert check(RequestReader(Limits()), path.read_bytes()) == (not path.stem.startswith("bad_"))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests_are_read_or_refused(seed):
    tracemalloc.start()
    try:
        tried, valid = run(20.0, seed, at_most=1000)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert 0 < valid < tried == 1000


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    check(RequestReader(Limits()), content)
