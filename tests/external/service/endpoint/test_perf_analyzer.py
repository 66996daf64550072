"""The real perf_analyzer measures our endpoint, as it measures a Triton."""

from __future__ import annotations

import re

import pytest

from tests.external.service.endpoint.conftest import serving
from tests.peers.perf_analyzer import run_perf_analyzer

WORDS = ("--measurement-mode", "count_windows", "--measurement-request-count", "50", "-s", "999", "-r", "3")


@pytest.mark.parametrize(
    "words", [(), ("--shared-memory", "system", "--output-shared-memory-size", "64"), ("--streaming",)]
)
def test_perf_analyzer_measures_our_endpoint(words):
    with serving(shared_memory=True) as endpoint:
        done = run_perf_analyzer("rows", endpoint.address, *WORDS, *words, "--input-data", "zero")
    assert re.search(r"Throughput: [1-9]", done.stdout), done.stdout + done.stderr
