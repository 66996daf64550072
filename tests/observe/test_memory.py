import mmap

import numpy as np
import pytest

from evtfw.core.observer import Activity
from evtfw.observe.memory import MemoryObserver, growth_per_10000, resident_bytes
from tests.observe.synthetic import START_NS, Feeder, toptag_info


def test_the_resident_set_contains_what_is_allocated():
    before = resident_bytes()
    with mmap.mmap(-1, 64_000_000) as block:  # an array might get memory that was freed, but is still resident
        block.write(bytes([1]) * len(block))
        assert resident_bytes() - before > 0.9 * len(block)


def test_a_job_is_sampled():
    observer = MemoryObserver()
    result = Feeder([observer], events=3000).run()
    memory = observer.memory()
    assert memory.peak_bytes >= memory.series["resident_bytes"].max() > 1e6
    assert memory.series["events_ended"][-1] == result.events_read
    assert memory.growth_bytes is None  # too few events to tell


def test_growth_is_found_after_the_warm_up():
    events = np.arange(100) * 500.0
    sizes = np.where(events < 8000, 1e6, 2e8 + 4.0 * events)
    assert growth_per_10000(events, sizes) == pytest.approx(40_000)
    assert growth_per_10000(events, np.full(100, 5e7)) == 0


def test_short_jobs_have_no_growth():
    observer = MemoryObserver()
    observer.begin_job(toptag_info())
    observer.tick(Activity(START_NS, 1, 0, {}, 0, {}, 0))
    assert observer.memory().growth_bytes is None
    assert growth_per_10000(np.zeros(50), np.arange(50.0)) is None
