"""Modules that take several events at once put the same products, bit for bit, however events come together."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from evtfw import ConfigurationError, EndPath, Job, Path, Process, data
from evtfw.io.root_source import RootSource
from evtfw.modules import (
    JetConstituents,
    JetCountFilter,
    JetFeatures,
    JetImages,
    JetSelector,
    SoftDrop,
    Subjettiness,
)
from evtfw.modules.constituents import joined
from evtfw.testing import SimulatedRuntime
from tests.core.random_jobs import Recorder, World

from .particles import constituents_of, random_particles

EVENTS = 60


def products_of(bulk, *, n_jets=1, **parameters):
    """All products of the chain up to the images, by event."""
    runtime = SimulatedRuntime()
    world = World(runtime, 0)
    process = Process("CHAIN")
    process.source = RootSource(files=[str(data.path("toptag_sample.root"))])
    process.jets = JetSelector(**{"pt_min_gev": 550.0, "pt_max_gev": 650.0, "abs_eta_max": 2.0, **parameters})
    process.anyjet = JetCountFilter(at_least=n_jets)
    process.constituents = JetConstituents()
    process.softdrop = SoftDrop()
    process.images = JetImages()
    process.subjettiness = Subjettiness()
    process.features = JetFeatures()
    process.path = Path(
        process.jets, process.anyjet, process.softdrop, process.images, process.subjettiness, process.features
    )
    products = ["jets", "constituents", "softdrop:mass_gev", "softdrop:z", "softdrop:delta_r", "images"]
    products += ["subjettiness:tau1", "subjettiness:tau2", "subjettiness:tau3", "features"]
    process.recorder = type("Recorder", (Recorder,), {"world": world})(products=products)
    process.end = EndPath(process.recorder)
    process.set_options(bulk_events=bulk, max_events=EVENTS, check_products=True)
    result = Job(process, runtime=runtime).run()
    assert result.error is None
    assert len(world.records) == EVENTS
    return {index: list(map(plain, found.values())) for index, (found, _, _) in sorted(world.records.items())}


def plain(product):
    return dataclasses.astuple(product) if dataclasses.is_dataclass(product) else product


@pytest.mark.parametrize("bulk", [2, 7, 32])
@pytest.mark.parametrize("parameters", [{}, {"pt_min_gev": 0.0, "max_jets": 2}, {"n_jets": 2}])
def test_products_do_not_depend_on_who_comes_together(bulk, parameters):
    alone, together = products_of(1, **parameters), products_of(bulk, **parameters)
    assert alone.keys() == together.keys()
    for index, wanted in alone.items():
        for one, other in zip(wanted, together[index], strict=True):
            assert_same(one, other)


def assert_same(one, other):
    if isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif one is None:
        assert other is None
    else:
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=4), min_size=1, max_size=5))
def test_joined_constituents_are_those_of_all_events(events):
    parts = [
        constituents_of(*(random_particles(10 * number + jet, count) for jet, count in enumerate(counts)))
        for number, counts in enumerate(events)
    ]
    found = joined(parts)
    counts = [count for event in events for count in event]
    assert found.n_jets == len(counts)
    assert_array_equal(np.diff(found.offsets), counts)
    assert_array_equal(found.jet, np.repeat(np.arange(len(counts)), counts))
    for column in ("pt_gev", "eta", "phi", "mass_gev"):
        assert_array_equal(getattr(found, column), np.concatenate([getattr(part, column) for part in parts]))


def test_the_configuration_bounds_the_size_of_bulks():
    process = Process("CHAIN")
    with pytest.raises(ConfigurationError, match="bulk_events"):
        process.set_options(bulk_events=-1)
