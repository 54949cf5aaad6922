"""From a bundle and a slice to the folder of `ldctpipe explain`: a picture, the maps, and what they are of."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from ldctpipe import __version__
from ldctpipe.data.scans import load_volume
from ldctpipe.devices import pick_device
from ldctpipe.errors import UsageError
from ldctpipe.files import new_file, new_folder, write_json
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.explained_slice import FUSED, GRAD_CAM, LAST, ExplainedSlice, explained_slice
from ldctpipe.inference.spacing_doubt import spacing_doubts
from ldctpipe.progress import warn
from ldctpipe.recipes.bundle import Bundle, read_bundle
from ldctpipe.reporting.colours import SOFT_WINDOW_HU
from ldctpipe.reporting.explanation_figure import Panel, write_explanation_figure
from ldctpipe.volumes.orientation import radiological
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume

FORMAT = "ldctpipe-explanation@1"
FIGURE, MAPS, DESCRIPTION = "figure.png", "maps.npz", "explanation.json"
SCALAR = "mean of |output − input| over the region"
ATTENDED = "what attention passes on at each stage"
ENTERING = "what enters the last convolution"
_TITLES = {
    "spatial": "Spatial attention",
    "channel": "Channel attention",
    "combined": "Combined attention",
    GRAD_CAM: "Grad-CAM",
}


@dataclass(frozen=True)
class ExplainRequest:
    """What `ldctpipe explain` was asked for.

    `slice_number` counts from 1; None takes the middle. `stage` is what the picture shows of a network with attention:
    one of its stages (the flagship's "3", "5", "7"), or "fused".
    """

    bundle: Path
    source: Path
    out: Path
    slice_number: int | None = None
    stage: str = FUSED
    device: str = "auto"
    threads: int | None = None
    overwrite: bool = False


def explain(request: ExplainRequest) -> dict[str, Any]:
    """Explain one slice in the new folder `request.out` and return the description that lies there.

    Raises `InputError` where the source is not one volume, the slice holds no measurement or the network has nothing to
    show, and `UsageError` for a slice or a stage that isn't there.
    """
    bundle = read_bundle(request.bundle)
    inputs = (request.bundle, request.source)
    with new_folder(request.out, overwrite=request.overwrite, inputs=inputs) as folder:
        volume = load_volume(request.source, request.threads)
        number, slices = _slice_number(request, len(volume.hu)), len(volume.hu)
        for doubt in spacing_doubts(bundle, volume):
            warn(doubt)
        one = _one_slice(volume, number - 1)
        device = pick_device(request.device, request.threads)
        explained = explained_slice(Denoiser(bundle, device), volume, number - 1)
        _require_stage(request, explained)
        description = {
            **_origin(bundle, one, number, slices),
            **_findings(explained, request.stage),
            "device": device.type,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        }
        _write_maps(folder / MAPS, explained)
        _write_figure(folder / FIGURE, description, explained, one)
        write_json(folder / DESCRIPTION, description)
    return description


def _slice_number(request: ExplainRequest, slices: int) -> int:
    number = request.slice_number or (slices + 1) // 2
    if number > slices:
        raise UsageError(request.source, f"has no slice {number}", f"give a --slice from 1 to {slices}")
    return number


def _require_stage(request: ExplainRequest, explained: ExplainedSlice) -> None:
    known = [*(explained.stages if explained.has_attention else ()), FUSED]
    if request.stage not in known:
        remedy = f"give one of {', '.join(known)}" if explained.has_attention else "leave --stage away"
        raise UsageError(request.bundle, f"its network has no stage {request.stage} of attention", remedy)


def _one_slice(volume: Volume, index: int) -> Volume:
    these = slice(index, index + 1)
    padding = None if volume.padding is None else Padding.of(volume.padding[these])
    return replace(volume, hu=volume.hu[these].copy(), positions_mm=volume.positions_mm[these], padding=padding)


def _origin(bundle: Bundle, one: Volume, number: int, slices: int) -> dict[str, Any]:
    """Return what the explanation is of: which model, which slice. Nothing in it leads to the patient."""
    _, row_mm, column_mm = one.spacing_mm
    return {
        "format": FORMAT,
        "ldctpipe": __version__,
        "model": {
            "name": bundle.name,
            "title": bundle.recipe.title,
            "weights_sha256": bundle.weights_sha256,
            "recipe_sha256": bundle.card["recipe_sha256"],
            "notes": bundle.card.get("notes", []),
        },
        "slice": {
            "series": one.key,
            "number": number,
            "of": slices,
            "position_mm": round(float(one.positions_mm[0]), 3),
            "shape": list(one.hu.shape[1:]),
            "pixel_mm": [round(row_mm, 4), round(column_mm, 4)],
            "hu_sha256": hashlib.sha256(one.hu.tobytes()).hexdigest(),
        },
    }


def _findings(explained: ExplainedSlice, stage: str) -> dict[str, Any]:
    return {
        "shown": stage if explained.has_attention else LAST,
        "ranges": {kind: explained.ranges(kind) for kind in explained.maps},
        "grad_cam": {
            "scalar": SCALAR,
            "features": ATTENDED if explained.has_attention else ENTERING,
            "region": explained.region_name,
            "region_pixels": int(explained.region.sum()),
            "mean_change_hu": round(explained.mean_change_hu, 3),
        },
    }


def _write_maps(path: Path, explained: ExplainedSlice) -> None:
    """Write float32 arrays: `input_hu`, `denoised_hu`, KIND_stageN as computed, and KIND_fused in [0, 1].

    Of a network without attention, the map as computed is `grad_cam`, and there is no other.
    """
    arrays = {"input_hu": explained.hu.astype(np.float32), "denoised_hu": explained.denoised_hu}
    if not explained.has_attention:
        arrays[GRAD_CAM] = explained.maps[GRAD_CAM][LAST]
    else:
        for kind, stages in explained.maps.items():
            arrays |= {f"{kind}_stage{stage}": values for stage, values in stages.items()}
            arrays[f"{kind}_fused"] = explained.shown[kind][FUSED]
    with new_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _write_figure(path: Path, description: dict[str, Any], explained: ExplainedSlice, one: Volume) -> None:
    def turned(title: str, values: Any, note: str = "", is_map: bool = False) -> Panel:
        return Panel(title, radiological(values, one.affine), note, is_map)

    stage = description["shown"]
    maps = [
        turned(title, explained.shown[kind][stage], _note(kind, description), is_map=True)
        for kind, title in _TITLES.items()
        if kind in explained.shown
    ]
    changed = f"mean |change| in the {explained.region_name}: {explained.mean_change_hu:.1f} HU"
    panels = [turned("Input", explained.hu), *maps, turned("Denoised", explained.denoised_hu, changed)]
    measured = radiological(explained.measured, one.affine)
    write_explanation_figure(path, _heading(description), panels, measured, _caption(description))


def _note(kind: str, description: dict[str, Any]) -> str:
    """Return what a map's range was before it was stretched."""
    if kind == GRAD_CAM:
        return f"of the mean |change| in the {description['grad_cam']['region']}"
    stage, ranges = description["shown"], description["ranges"][kind]
    low, high = zip(*(ranges.values() if stage == FUSED else [ranges[stage]]), strict=True)
    return f"factors from {min(low):.3f} to {max(high):.3f}"


def _heading(description: dict[str, Any]) -> str:
    title, stage = description["model"]["title"], description["shown"]
    if stage == LAST:
        return f"{title}: Grad-CAM of what enters its last convolution"
    *others, last = description["ranges"][GRAD_CAM]
    where = f"stages {', '.join(others)} and {last} fused" if stage == FUSED else f"stage {stage}"
    return f"{title}: attention and Grad-CAM, {where}"


def _caption(description: dict[str, Any]) -> str:
    model, place = description["model"], description["slice"]
    low, high = SOFT_WINDOW_HU
    meaning = (
        "Each map is stretched to its own range over what was measured. Attention says by which factor the network "
        "passes features on, Grad-CAM which features make it change the image more; neither says what matters for a "
        "diagnosis."
    )
    if description["shown"] == LAST:
        meaning = (
            "The map is stretched to its own range over what was measured. It says which features make the network "
            "change the image more, not what matters for a diagnosis."
        )
    text = (
        f"Slice {place['number']} of {place['of']} at {place['position_mm']:.1f} mm, window {low:g} to {high:g} HU. "
        f"{meaning} Model {model['name']}, weights {model['weights_sha256'][:12]}."
    )
    return text.replace(" -", " −")
