"""Jets made of particles, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evtfw.modules import Constituents, Jets

Particle = tuple[float, float, float]
"""pT in GeV, eta, phi; massless."""


def constituents_of(*jets: Sequence[Particle]) -> Constituents:
    """One jet for each sequence of particles."""
    counts = [len(jet) for jet in jets]
    table = np.array([particle for jet in jets for particle in jet], np.float32).reshape(-1, 3)
    pt, eta, phi = (np.ascontiguousarray(column) for column in table.T)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Constituents(pt, eta, phi, np.zeros_like(pt), np.repeat(np.arange(len(jets)), counts), offsets)


def jets_of(*axes: Particle) -> Jets:
    """Jets with these axes."""
    table = np.array(axes, np.float32).reshape(-1, 3)
    pt, eta, phi = (np.ascontiguousarray(column) for column in table.T)
    return Jets(pt, eta, phi, 0.1 * pt, np.arange(len(pt), dtype=np.int32))


def random_particles(
    seed: int, count: int, *, eta: float = 0.0, phi: float = 0.0, width: float = 0.3
) -> list[Particle]:
    """Particles around an axis, with falling pT."""
    random = np.random.default_rng(seed)
    return list(
        zip(
            random.exponential(10.0, count) + 0.5,
            random.normal(eta, width, count),
            random.normal(phi, width, count),
            strict=True,
        )
    )
