"""One slice through several bundles, measured against the full dose where there is one: `ldctpipe figure methods`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ldctpipe.data.pairing import pair_volumes
from ldctpipe.data.scans import load_volume
from ldctpipe.devices import pick_device
from ldctpipe.errors import InputError, UsageError
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.spacing_doubt import spacing_doubts
from ldctpipe.metrics.image_quality import ImageQuality, image_quality, measured_mask
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.progress import warn
from ldctpipe.recipes.bundle import Bundle, read_bundle
from ldctpipe.reporting.colours import SOFT_WINDOW_HU
from ldctpipe.reporting.figure_file import require_figure_name
from ldctpipe.reporting.methods_figure import MethodPanel, write_methods_figure
from ldctpipe.reporting.pictures import Box, body_box, structured_region
from ldctpipe.volumes.orientation import radiological
from ldctpipe.volumes.volume import HuArray, Volume


@dataclass(frozen=True)
class MethodsRequest:
    """What `ldctpipe figure methods` was asked for.

    `slice_number` counts from 1; None takes the middle one. `region` is the row and column of the upper left corner and
    the side of what is magnified, in pixels of the slice as it is shown; None takes the square inside the body with the
    most soft-tissue structure.
    """

    source: Path
    out: Path
    bundles: tuple[Path, ...]
    protocol: Protocol
    reference: Path | None = None
    slice_number: int | None = None
    region: tuple[int, int, int] | None = None
    window_hu: tuple[float, float] = SOFT_WINDOW_HU
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class _Place:
    """A slice of the low-dose volume and, where there is one, of the full-dose volume; numbers count from 0."""

    low: Volume
    number: int
    full: Volume | None = None
    full_number: int = 0

    @property
    def reference_hu(self) -> HuArray | None:
        return None if self.full is None else self.full.hu[self.full_number]

    @property
    def padding(self) -> npt.NDArray[np.bool_] | None:
        """Return where either image holds no measurement; None where both do everywhere."""
        masks = [self.low.padding[self.number]] if self.low.padding is not None else []
        if self.full is not None and self.full.padding is not None:
            masks.append(self.full.padding[self.full_number])
        return np.logical_or.reduce(masks) if masks else None


def draw_methods(request: MethodsRequest) -> tuple[int, int]:
    """Draw the figure and return which slice it shows, counted from 1, of how many.

    Raises `InputError` where the source is not one volume, the full dose does not belong to it or something is no
    bundle, and `UsageError` for a slice or a region that isn't there, or another kind of file.
    """
    require_figure_name(request.out)
    bundles = [read_bundle(folder) for folder in request.bundles]
    place = _place(request)
    images = _images(request, bundles, place)
    reference_hu, affine = place.reference_hu, place.low.affine
    panels = [
        MethodPanel(title, radiological(hu, affine), _measured(hu, place, request.protocol))
        for title, hu in images.items()
    ]
    if reference_hu is not None:
        panels.append(MethodPanel("Full dose", radiological(reference_hu, affine), "reference"))
    shown = panels[-1 if reference_hu is not None else 0].hu
    region = structured_region(shown) if request.region is None else _square(*request.region, shown)
    caption = _caption(request, place, region, bundles)
    write_methods_figure(request.out, panels, body_box(shown), region, request.window_hu, caption)
    return place.number + 1, len(place.low.hu)


def _place(request: MethodsRequest) -> _Place:
    low = load_volume(request.source, request.threads)
    slices = len(low.hu)
    if request.slice_number and request.slice_number > slices:
        fault = f"has no slice {request.slice_number}"
        raise UsageError(request.source, fault, f"give a --slice from 1 to {slices}")
    asked = request.slice_number - 1 if request.slice_number else None
    if request.reference is None:
        return _Place(low, (slices - 1) // 2 if asked is None else asked)
    (pair,) = pair_volumes([low], [load_volume(request.reference, request.threads)])
    at = (len(pair.low_index) - 1) // 2 if asked is None else _position(pair.low_index.tolist(), asked, request)
    return _Place(low, int(pair.low_index[at]), pair.full, int(pair.full_index[at]))


def _position(low_index: list[int], asked: int, request: MethodsRequest) -> int:
    if asked not in low_index:
        known = f"give a --slice from {min(low_index) + 1} to {max(low_index) + 1}, or leave --reference away"
        raise InputError(request.reference, f"has no partner of slice {asked + 1} of the low dose", known)
    return low_index.index(asked)


def _images(request: MethodsRequest, bundles: Sequence[Bundle], place: _Place) -> dict[str, HuArray]:
    """Return the low dose and what each bundle makes of it, by title; one network at a time is in memory."""
    device = pick_device(request.device, request.threads)
    images = {"Low dose": place.low.hu[place.number]}
    for title, bundle in zip(_titles(bundles), bundles, strict=True):
        for doubt in spacing_doubts(bundle, place.low):
            warn(f"{title}: {doubt}")
        images[title] = Denoiser(bundle, device).denoise_slice(place.low, place.number)
    return images


def _titles(bundles: Sequence[Bundle]) -> list[str]:
    """Return the bundles' titles, told apart by their weights, and by a number, where they are the same."""
    twice = {title for title, count in Counter(bundle.recipe.title for bundle in bundles).items() if count > 1}
    titles: list[str] = []
    for bundle in bundles:
        title = bundle.recipe.title
        title += f" ({bundle.weights_sha256[:6]})" if title in twice else ""
        titles.append(f"{title}, again" if title in titles else title)
    return titles


def _measured(hu: HuArray, place: _Place, protocol: Protocol) -> str:
    """Return the figures of a slice against the full dose, as a line for people; nothing without a full dose."""
    if place.reference_hu is None:
        return ""
    mask = measured_mask(place.reference_hu, place.padding, protocol)
    return _line_of(image_quality(hu, place.reference_hu, mask, protocol))


def _line_of(quality: ImageQuality) -> str:
    parts = {
        "{:.2f} dB": quality.psnr_db,
        "SSIM {:.3f}": quality.ssim,
        "RMSE {:.1f} HU": quality.rmse_hu,
    }
    return ", ".join(text.format(value) for text, value in parts.items() if value is not None)


def _square(row: int, column: int, side: int, hu: HuArray) -> Box:
    rows, columns = hu.shape
    if row + side > rows or column + side > columns:
        fault = f"reaches beyond the slice of {rows} × {columns} pixels"
        raise UsageError("--roi", fault, "give the upper left corner and the side of a square inside of it")
    return Box(row, column, side, side)


def _caption(request: MethodsRequest, place: _Place, region: Box, bundles: Sequence[Bundle]) -> str:
    low, high = request.window_hu
    position_mm = float(place.low.positions_mm[place.number])
    text = (
        f"Slice {place.number + 1} of {len(place.low.hu)} at {position_mm:.1f} mm, window {low:g} to {high:g} HU; "
        f"below, the marked square (row {region.top}, column {region.left}, side {region.height})."
    ).replace(" -", " −")
    if place.full is not None:
        text += f" PSNR, SSIM and RMSE of this slice against the full dose under {request.protocol.label}."
    cautions = dict.fromkeys(
        f" {bundle.recipe.title}: {bundle.recipe.caution}" for bundle in bundles if bundle.recipe.caution
    )
    return text + "".join(cautions)
