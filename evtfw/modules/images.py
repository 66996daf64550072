"""Jet images: the constituents of each jet as one square picture, the input of image networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import BulkProducer
from evtfw.modules.constituents import Constituents, joined
from evtfw.modules.jets import FloatColumn, Jets, share_out

_TURN = 2.0 * np.pi


def jet_images(
    pt_gev: FloatColumn,
    eta: FloatColumn,
    phi: FloatColumn,
    jet_index: NDArray[Any],
    jet_pt_gev: FloatColumn,
    jet_eta: FloatColumn,
    jet_phi: FloatColumn,
    *,
    pixels: int = 64,
    half_width: float = 1.2,
    flip_eta: bool = True,
    normalise_sum: float | None = 255.0,
    channels: int = 1,
) -> NDArray[np.float32]:
    """Draw one image per jet: where its transverse momentum went, relative to its axis.

    The recipe is that of Duarte et al., "FPGA-accelerated machine learning inference as a service for particle physics
    computing", arXiv:1904.08986, section 3. That of CMSSW's producer is ``pixels=224, half_width=1.0, flip_eta=False,
    normalise_sum=None, channels=3``.

    Args:
        pt_gev: transverse momenta of the constituents in GeV, [m].
        eta: their pseudorapidities, [m].
        phi: their azimuths in radians, of any branch, [m].
        jet_index: the jet of each constituent, 0 <= index < n_jets, integer [m], in any order.
        jet_pt_gev: transverse momenta of the jets in GeV, [n_jets].
        jet_eta: their pseudorapidities, [n_jets].
        jet_phi: their azimuths in radians, [n_jets].
        pixels: pixels per side.
        half_width: half the side in eta and in phi (radians); constituents outside are not drawn.
        flip_eta: mirror eta for jets with eta < 0, so that the forward direction is the same for all.
        normalise_sum: sum of each image's pixels; None: each pixel is its share of the jet's pT.
        channels: copies of the image along the last axis.

    Returns:
        float32 [n_jets, pixels, pixels, channels]; axis 1 is eta, axis 2 is phi, both ascending. The image of a jet
        without constituents inside is 0.
    """
    n_jets = len(jet_pt_gev)
    per_unit = pixels / (2.0 * half_width)
    axis_eta = np.asarray(jet_eta, dtype=np.float64)
    scale = np.where(axis_eta < 0.0, -per_unit, per_unit) if flip_eta else np.full(n_jets, per_unit)
    row = (eta - axis_eta.take(jet_index)) * scale.take(jet_index)
    column = phi - np.asarray(jet_phi, dtype=np.float64).take(jet_index)
    column -= np.rint(column * (1.0 / _TURN)) * _TURN
    column *= per_unit
    row = np.floor(row + 0.5 * pixels).astype(np.int64)
    column = np.floor(column + 0.5 * pixels).astype(np.int64)
    # As unsigned numbers, those below 0 are the largest: one comparison for both sides.
    inside = ((row.view(np.uint64) < pixels) & (column.view(np.uint64) < pixels)).nonzero()[0]
    jet = jet_index.take(inside)
    pixel = (jet * pixels + row.take(inside)) * pixels + column.take(inside)
    weight = pt_gev.take(inside).astype(np.float64)
    weight *= _factors(weight, jet, jet_pt_gev, normalise_sum).take(jet)
    image = np.bincount(pixel, weight, n_jets * pixels * pixels).astype(np.float32).reshape(n_jets, pixels, pixels, 1)
    return image if channels == 1 else np.repeat(image, channels, axis=-1)


def _factors(
    pt_gev: NDArray[np.float64], jet: NDArray[Any], jet_pt_gev: FloatColumn, normalise_sum: float | None
) -> NDArray[np.float64]:
    """By what the pT of the constituents drawn is to be multiplied, for each jet; float64 [n_jets]."""
    if normalise_sum is None:
        return 1.0 / np.asarray(jet_pt_gev, dtype=np.float64)
    drawn_gev = np.bincount(jet, pt_gev, len(jet_pt_gev))
    return normalise_sum / np.where(drawn_gev > 0.0, drawn_gev, 1.0)


class JetImages(BulkProducer):
    """Draws one image per jet from its constituents, the input of image networks."""

    pixels = Parameter[int]("pixels per side", default=64, ge=1)
    half_width = Parameter[float]("half the side, in eta and in phi (radians)", default=1.2, gt=0)
    flip_eta = Parameter[bool]("mirror eta for jets with eta < 0", default=True)
    normalise_sum = Parameter[float | None](
        "sum of each image's pixels; None: each pixel is its share of the jet's pT", default=255.0, gt=0
    )
    channels = Parameter[int]("copies of the image along the last axis", default=1, ge=1)

    jets = Input[Jets]("jets, which give the axes", default="jets")
    constituents = Input[Constituents]("particles in each jet", default="constituents")

    images = Output[NDArray[np.float32]]("one image per jet, float32 [n, pixels, pixels, channels]")

    def produce_bulk(self, events: Sequence[Event]) -> None:
        """Draw all jets of the events at once."""
        jets = [event[self.jets] for event in events]
        particles = joined([event[self.constituents] for event in events])
        images = jet_images(
            particles.pt_gev,
            particles.eta,
            particles.phi,
            particles.jet,
            np.concatenate([j.pt_gev for j in jets]),
            np.concatenate([j.eta for j in jets]),
            np.concatenate([j.phi for j in jets]),
            pixels=self.pixels,
            half_width=self.half_width,
            flip_eta=self.flip_eta,
            normalise_sum=self.normalise_sum,
            channels=self.channels,
        )
        share_out(events, map(len, jets), {self.images: images})
