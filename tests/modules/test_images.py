import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from evtfw.modules import JetImages, jet_images
from evtfw.testing import run_module

from .particles import constituents_of, jets_of, random_particles

AXES = ((600.0, 0.7, 3.0), (580.0, -1.1, -1.5))


def draw(axes, *jets, **options):
    found, particles = jets_of(*axes), constituents_of(*jets)
    return jet_images(
        particles.pt_gev, particles.eta, particles.phi, particles.jet, found.pt_gev, found.eta, found.phi, **options
    )


def two_jets(seed=1):
    return [random_particles(seed + i, 60, eta=axis[1], phi=axis[2]) for i, axis in enumerate(AXES)]


def pixel_by_pixel(axis, particles, pixels, half_width):
    """The recipe in words: one particle after the other, without NumPy."""
    image = [[0.0] * pixels for _ in range(pixels)]
    pt_jet, eta_jet, phi_jet = (float(np.float32(x)) for x in axis)
    for pt, eta, phi in ((float(np.float32(x)) for x in particle) for particle in particles):
        x = (eta - eta_jet) * (-1 if eta_jet < 0 else 1)
        y = math.remainder(phi - phi_jet, 2 * math.pi)
        row, column = (math.floor((z + half_width) / (2 * half_width) * pixels) for z in (x, y))
        if 0 <= row < pixels and 0 <= column < pixels:
            image[row][column] += pt / pt_jet
    total = sum(map(sum, image))
    return np.array(image) * (255.0 / total if total else 0.0)


@given(st.integers(0, 1000), st.integers(1, 40), st.floats(0.2, 2.0), st.floats(-2.5, 2.5), st.floats(-3.1, 3.1))
def test_image_is_that_of_the_recipe(seed, pixels, half_width, eta, phi):
    axis = (500.0, eta, phi)
    particles = random_particles(seed, 30, eta=eta, phi=phi, width=0.8)
    image = draw([axis], particles, pixels=pixels, half_width=half_width)[0, :, :, 0]
    wanted = pixel_by_pixel(axis, particles, pixels, half_width)
    different = ~np.isclose(image, wanted, rtol=1e-4, atol=1e-4)
    assert different.sum() <= 2  # a particle on the border of two pixels may be in either


def test_pixels_sum_to_255():
    images = draw(AXES, *two_jets())
    assert images.shape == (2, 64, 64, 1)
    assert images.dtype == np.float32
    assert_allclose(images.sum(axis=(1, 2, 3)), 255.0, rtol=1e-5)


def test_without_normalisation_pixels_are_shares_of_the_jets_pt():
    images = draw([(200.0, 0.0, 0.0)], [(50.0, 0.01, 0.01), (100.0, 0.01, 0.01)], normalise_sum=None)
    assert_allclose(images[0, 32, 32, 0], 0.75)


def test_particle_ahead_in_eta_and_phi_is_at_larger_row_and_column():
    image = draw([(100.0, 1.0, 1.0)], [(100.0, 1.55, 0.55)], pixels=4, half_width=1.0)[0, :, :, 0]
    assert_array_equal(np.argwhere(image), [[3, 1]])


def test_mirrored_jet_gives_the_same_image():
    axis, particles = AXES[0], two_jets()[0]
    there = draw([axis], particles)
    mirrored = ((axis[0], -axis[1], axis[2]), [(pt, -eta, phi) for pt, eta, phi in particles])
    assert_array_equal(draw([mirrored[0]], mirrored[1]), there)
    assert_array_equal(
        draw([mirrored[0]], mirrored[1], flip_eta=False), draw([axis], particles, flip_eta=False)[:, ::-1]
    )


def test_jet_across_the_end_of_phi_is_in_one_piece():
    image = draw([(100.0, 0.0, 3.1)], [(60.0, 0.01, 3.11), (40.0, 0.01, -3.03)], pixels=24)[0, 12, :, 0]
    assert_allclose(image[[12, 13]], [153.0, 102.0], rtol=1e-5)  # 0.15 apart, with 0.1 a pixel


def test_other_branch_of_phi_gives_the_same_image():
    axis, particles = AXES[1], two_jets()[1]
    shifted = [(pt, eta, phi + 2 * math.pi) for pt, eta, phi in particles]
    difference = draw([axis], particles) - draw([axis], shifted)
    assert np.count_nonzero(np.abs(difference) > 1e-3) <= 2


def test_particles_outside_are_dropped():
    centre = (10.0, 0.01, 0.01)
    outside = [(99.0, 1.21, 0.0), (99.0, -1.21, 0.0), (99.0, 0.0, 1.21), (99.0, 0.0, -1.21), (99.0, 5.0, 3.0)]
    assert_array_equal(draw([(100.0, 0.0, 0.0)], [centre, *outside]), draw([(100.0, 0.0, 0.0)], [centre]))


def test_jet_with_nothing_inside_is_empty():
    images = draw([AXES[0], AXES[0]], [], [(10.0, -4.0, 0.0)])
    assert_array_equal(images, np.zeros((2, 64, 64, 1), np.float32))


def test_order_of_particles_and_neighbours_do_not_matter():
    first, second = two_jets()
    together = draw(AXES, first[::-1], second)
    assert_allclose(together[0], draw([AXES[0]], first)[0], rtol=1e-5)
    assert_array_equal(together[1], draw([AXES[1]], second)[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_module(channels):
    inputs = {"jets": jets_of(*AXES), "constituents": constituents_of(*two_jets())}
    images = run_module(JetImages(pixels=32, half_width=1.0, channels=channels), inputs)["images"]
    wanted = draw(AXES, *two_jets(), pixels=32, half_width=1.0)
    assert images.shape == (2, 32, 32, channels)
    for channel in range(channels):
        assert_array_equal(images[..., channel], wanted[..., 0])


def test_event_without_jets():
    images = run_module(JetImages(), {"jets": jets_of(), "constituents": constituents_of()})["images"]
    assert images.shape == (0, 64, 64, 1)
    assert images.dtype == np.float32
