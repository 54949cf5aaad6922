"""Acceptance tests of the program: determinism, what must not change, agreement with another implementation."""

from __future__ import annotations

import numpy as np
import torch
from skimage.transform import iradon

from ldctpipe.simulation.acceptance_bench import Bench, Check, Values
from ldctpipe.simulation.kernels import apodisation
from ldctpipe.simulation.operators import parallel_beam
from ldctpipe.simulation.reduction import reduce_dose
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Acquisition, Volume

_QUANTA = 1.5e6


def _scan(bench: Bench, slices: int = 4) -> Volume:
    """Return a cylinder with noise as a scanner would store it."""
    truth = bench.water(0.8 * bench.field_mm)
    noise = bench.noise(bench.model(_QUANTA), truth, 1.0, seed=77, slices=slices)
    affine = np.diag([-bench.pixel_mm, -bench.pixel_mm, 2.0, 1.0])
    positions_mm: Values = np.arange(slices, dtype=np.float64) * 2.0
    hu = np.rint(truth.numpy() + noise).astype(np.int16)
    acquisition = Acquisition(kernel="B30f", slice_thickness_mm=3.0)
    return Volume(hu, affine, positions_mm, acquisition=acquisition, key="acceptance")


def determinism(bench: Bench) -> Check:
    """V10: the same seed gives the same bytes again, and whatever the number of slices worked on at a time."""
    scan = _scan(bench)
    once, again, alone, together = (
        reduce_dose(scan, 0.25, 7, quanta=_QUANTA, views=bench.views, threads=threads).hu for threads in (2, 2, 1, 4)
    )
    rerun, batch = np.array_equal(once, again), np.array_equal(alone, together)
    said = f"rerun {'equal' if rerun else 'differs'}, 1 and 4 at a time {'equal' if batch else 'differ'}"
    return Check("V10", "same seed, same bytes", said, "bit-equal", rerun and batch)


def what_stays(bench: Bench) -> Check:
    """V14: dose 1 gives the input back; NaN, padding, dtype and the range that is stored survive a quarter."""
    scan = _scan(bench)
    same = np.array_equal(reduce_dose(scan, 1.0, 1, quanta=_QUANTA, views=bench.views).hu, scan.hu)
    padding = np.zeros(scan.hu.shape, dtype=bool)
    padding[:, :4] = True
    hu = np.where(padding, -3024, scan.hu).astype(np.int16)
    padded = Volume(hu, scan.affine, scan.positions_mm, Padding.of(padding), scan.acquisition, scan.key)
    low = reduce_dose(padded, 0.25, 1, quanta=_QUANTA, views=bench.views).hu
    kept = bool((low[padding] == -3024).all()) and low.dtype == np.int16 and low.max() <= 3071
    holes = scan.hu.astype(np.float32)
    holes[:, 5, 5] = np.nan
    holed = Volume(holes, scan.affine, scan.positions_mm, None, scan.acquisition, scan.key)
    reduced = reduce_dose(holed, 0.25, 1, quanta=_QUANTA, views=bench.views).hu
    nan = bool(np.isnan(reduced[:, 5, 5]).all()) and int(np.isnan(reduced).sum()) == len(reduced)
    said = ", ".join(
        f"{name} {'kept' if state else 'lost'}"
        for name, state in (("dose 1", same), ("padding and range", kept), ("NaN", nan))
    )
    return Check("V14", "what must not change", said, "to the bit", same and kept and nan)


def other_implementation(bench: Bench) -> Check:
    """V15: filtered back-projection of exact sinograms against scikit-image's, below 1 HU inside."""
    geometry = parallel_beam(bench.size, bench.views * 2)
    response = geometry.ramp() * apodisation(geometry.frequencies, 0.5)
    sinogram = _blob_sinogram(geometry.channels, geometry.views, bench.size, shift=0.0)
    ours = geometry.filtered_back_projection(torch.from_numpy(sinogram.astype(np.float32))[None], response)[0].numpy()
    shifted = _blob_sinogram(geometry.channels, geometry.views, bench.size, shift=-0.5)
    angles_deg = np.arange(geometry.views) * 180.0 / geometry.views
    theirs = iradon(
        shifted.T, angles_deg, output_size=bench.size, filter_name="hann", interpolation="cubic", circle=False
    )
    difference_hu = 1000.0 * (ours - theirs)[bench.size // 8 : -bench.size // 8, bench.size // 8 : -bench.size // 8]
    rms_hu = float(np.sqrt((difference_hu**2).mean()))
    return Check("V15", "FBP against scikit-image's iradon", f"{rms_hu:.2f} HU rms", "< 1 HU", rms_hu < 1.0)


def _blob_sinogram(channels: int, views: int, size: int, shift: float) -> Values:
    """Return exact line integrals, in pixels, of Gaussian blobs of some 1000 HU (1 = water); shape (views, channels).

    scikit-image puts the centre of rotation on a pixel, half a pixel beside the middle: `shift` takes that back.
    """
    angles = (np.arange(views) * np.pi / views)[:, None]
    channel = (np.arange(channels) - (channels - 1) / 2)[None]
    total = np.zeros((views, channels))
    for x, y, width, height in ((0.0, 0.0, 0.11, 1.0), (0.12, -0.09, 0.05, 0.8), (-0.14, 0.11, 0.04, -0.4)):
        centre = (x * size + shift) * np.cos(angles) - (y * size + shift) * np.sin(angles)
        sigma = width * size
        total += height * np.sqrt(2 * np.pi) * sigma * np.exp(-0.5 * ((channel - centre) / sigma) ** 2)
    return total
