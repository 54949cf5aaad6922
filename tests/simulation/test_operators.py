"""Projection and filtered back-projection against closed forms and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.transform import iradon, radon

from ldctpipe.simulation.kernels import apodisation
from ldctpipe.simulation.operators import parallel_beam

SIZE, VIEWS = 128, 180


def _disc(size: int, centre_x: float, centre_y: float, radius: float) -> np.ndarray:
    """Return a disc with area-weighted edges; x counts columns and y rows from the middle of the image."""
    fine = (np.arange(8 * size) + 0.5) / 8 - size / 2
    inside = (fine[None] - centre_x) ** 2 + (fine[:, None] - centre_y) ** 2 < radius**2
    return inside.reshape(size, 8, size, 8).mean(axis=(1, 3)).astype(np.float32)


def _smooth_blobs(size: int) -> np.ndarray:
    """Return blobs that end within the round field of view."""
    line = np.arange(size) - (size - 1) / 2
    image = np.zeros((size, size), dtype=np.float32)
    for x, y, width, height in [(0, 0, 14, 1.0), (15, -12, 6, 0.8), (-18, 14, 5, -0.4)]:
        image += height * np.exp(-((line[None] - x) ** 2 + (line[:, None] - y) ** 2) / (2 * width**2))
    image[line[None] ** 2 + line[:, None] ** 2 > (size / 2 - 1) ** 2] = 0.0
    return image


@pytest.mark.parametrize("coarse", [False, True])
def test_line_integrals_of_a_disc_are_its_chords(coarse: bool) -> None:
    geometry = parallel_beam(SIZE, VIEWS)
    image = torch.from_numpy(_disc(SIZE, 15.0, -10.0, 30.0))[None]

    sinogram = geometry.project(image, coarse=coarse)[0].numpy()

    angles = np.arange(VIEWS) * np.pi / VIEWS
    channel = np.arange(geometry.channels) - (geometry.channels - 1) / 2
    distance = channel[None] - (15.0 * np.cos(angles) + 10.0 * np.sin(angles))[:, None]
    chords = 2 * np.sqrt(np.clip(30.0**2 - distance**2, 0, None))
    interior = np.abs(distance) < 25
    assert np.abs(sinogram - chords)[interior].max() < (1.2 if coarse else 0.6)
    assert np.abs(sinogram.sum(axis=1) / chords.sum(axis=1) - 1).max() < 0.002


def test_back_projection_of_chords_gives_the_disc_back() -> None:
    geometry = parallel_beam(SIZE, VIEWS)
    channel = np.arange(geometry.channels) - (geometry.channels - 1) / 2
    chords = 2 * np.sqrt(np.clip(40.0**2 - channel**2, 0, None)).astype(np.float32)
    response = geometry.ramp() * apodisation(geometry.frequencies, 0.5)

    image = geometry.filtered_back_projection(torch.from_numpy(np.tile(chords, (1, VIEWS, 1))), response)[0].numpy()

    assert image[44:84, 44:84] == pytest.approx(1.0, abs=0.003)
    assert image[64, 4:12] == pytest.approx(0.0, abs=0.01)


def test_agrees_with_scikit_image() -> None:
    # scikit-image turns about a pixel, so its image has an odd size; both have their centre in the middle.
    reference, ours = _smooth_blobs(SIZE + 1), _smooth_blobs(SIZE)
    angles_deg = np.arange(VIEWS) * 180 / VIEWS
    geometry = parallel_beam(SIZE, VIEWS)

    sinogram = geometry.project(torch.from_numpy(ours)[None])
    image = geometry.filtered_back_projection(sinogram, geometry.ramp())[0].numpy()

    theirs = radon(reference, angles_deg, circle=True)
    middle = geometry.channels // 2
    wanted = theirs[SIZE // 2 - 40 : SIZE // 2 + 41]
    assert pytest.approx(wanted, abs=0.2) == sinogram[0, :, middle - 40 : middle + 41].numpy().T
    assert image[20:108, 20:108] == pytest.approx(ours[20:108, 20:108], abs=1e-3)  # 1 HU where 1 is water
    between = (image[:-1, :-1] + image[1:, :-1] + image[:-1, 1:] + image[1:, 1:]) / 4
    reconstructed = iradon(theirs, angles_deg, filter_name="ramp")[1:-1, 1:-1]
    assert between[20:107, 20:107] == pytest.approx(reconstructed[20:107, 20:107], abs=0.01)


def test_slices_do_not_depend_on_their_batch() -> None:
    geometry = parallel_beam(64, 60)
    sinograms = torch.randn(5, 60, geometry.channels, generator=torch.Generator().manual_seed(3))

    together = geometry.filtered_back_projection(sinograms, geometry.ramp())
    alone = torch.cat([geometry.filtered_back_projection(one[None], geometry.ramp()) for one in sinograms])

    assert torch.equal(together, alone)


def test_agrees_with_a_non_uniform_fourier_transform() -> None:
    finufft = pytest.importorskip("finufft", reason="finufft (a development requirement) is not installed")
    geometry = parallel_beam(SIZE, VIEWS)
    image = _disc(SIZE, 15.0, -10.0, 30.0)
    frequency = np.fft.rfftfreq(geometry.transform_length)
    angles = np.arange(VIEWS)[:, None] * np.pi / VIEWS
    across, down = (2 * np.pi * frequency * np.cos(angles)).ravel(), (-2 * np.pi * frequency * np.sin(angles)).ravel()

    ours = geometry.project(torch.from_numpy(image)[None])[0].numpy()

    spectrum = finufft.nufft2d2(down, across, image.astype(np.complex128), isign=-1, eps=1e-12)
    half_pixel = 0.5 * (across + down)  # finufft counts from pixel n/2, we from the middle
    centring = np.tile(2 * np.pi * frequency * (geometry.channels - 1) / 2, VIEWS)
    spectrum = (spectrum * np.exp(-1j * (centring + half_pixel))).reshape(VIEWS, -1)
    theirs = np.fft.irfft(spectrum, n=geometry.transform_length, axis=1)[:, : geometry.channels]
    assert np.abs(ours - theirs).max() < 2e-3 * theirs.max()
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 3e-4 * theirs.max()


def test_back_projection_is_the_adjoint_of_projection() -> None:
    geometry = parallel_beam(64, 60)
    random = torch.Generator().manual_seed(5)
    image, sinogram = torch.randn(64, 64, generator=random), torch.randn(60, geometry.channels, generator=random)

    forward = (geometry.project(image[None])[0].double() * sinogram.double()).sum()

    back = geometry.filtered_back_projection(sinogram[None], torch.ones_like(geometry.frequencies))[0]
    assert float(forward) == pytest.approx(float((back.double() * image).sum()) * geometry.views / np.pi, rel=1e-4)
