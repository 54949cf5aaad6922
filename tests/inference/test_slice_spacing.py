"""Networks of several slices warn of a slice spacing that they were not trained on; the card says which they were."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from small_bundle import write_small_bundle
from small_dicom import write_series

from ldctpipe.data.voxel_sizes import voxel_sizes
from ldctpipe.errors import InputError
from ldctpipe.files import write_json
from ldctpipe.inference.denoise import DenoiseRequest, denoise
from ldctpipe.recipes.bundle import read_bundle

DOUBT = "was trained on slices"
CPCE = {"context": 1, "channels": 4}


def bundle_of(folder: Path, spacing_mm: list[float] | None, network: str = "cpce.Cpce3d", **options: int) -> Path:
    """Write a bundle whose card says which slice spacings it was trained on."""
    write_small_bundle(folder, network, **options)
    card = json.loads((folder / "card.json").read_text())
    if spacing_mm is not None:
        card["data"] = {"voxels": {"slice_spacing_mm": spacing_mm, "pixel_mm": [0.7, 0.8]}}
    write_json(folder / "card.json", card)
    return folder


def warnings_of(request: DenoiseRequest) -> list[str]:
    return [warning for outcome in denoise(request).outcomes for warning in outcome.warnings if DOUBT in warning]


@pytest.mark.parametrize(
    ("spacing_mm", "is_warned"),
    [([3.0, 3.0], False), ([2.5, 2.5], False), ([1.0, 5.0], False), ([2.0, 2.0], True), ([4.0, 5.0], True)],
)
def test_a_spacing_that_differs_by_more_than_a_quarter_is_warned_of(spacing_mm, is_warned, tmp_path, capsys):
    series = write_series(tmp_path / "scan", slices=4, step_mm=3.0)
    model = bundle_of(tmp_path / "model", spacing_mm, **CPCE)

    found = warnings_of(DenoiseRequest(series, tmp_path / "out", model, device="cpu"))

    assert len(found) == is_warned
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [warning for warning in manifest["series"][0]["warnings"] if DOUBT in warning] == found
    assert capsys.readouterr().err.count(DOUBT) == is_warned
    if is_warned:
        assert "slices are 3 mm apart" in found[0]


def test_a_network_of_one_slice_does_not_care(tmp_path):
    model = bundle_of(tmp_path / "model", [1.0, 1.0], "red_cnn.RedCnn", channels=4)
    series = write_series(tmp_path / "scan", slices=3, step_mm=5.0)

    assert warnings_of(DenoiseRequest(series, tmp_path / "out", model, device="cpu")) == []


def test_a_bundle_of_an_earlier_version_says_nothing(tmp_path):
    model = bundle_of(tmp_path / "model", None, **CPCE)
    series = write_series(tmp_path / "scan", slices=3, step_mm=5.0)

    assert warnings_of(DenoiseRequest(series, tmp_path / "out", model, device="cpu")) == []


def test_a_nifti_file_is_warned_of_too(tmp_path):
    model = bundle_of(tmp_path / "model", [1.0, 1.5], **CPCE)
    hu = np.full((40, 40, 4), -1000, dtype=np.int16)
    hu[8:32, 8:32] = np.random.default_rng(0).normal(40, 15, (24, 24, 4))
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([0.7, 0.7, 5.0, 1.0])), tmp_path / "scan.nii")

    found = warnings_of(DenoiseRequest(tmp_path / "scan.nii", tmp_path / "out.nii", model, device="cpu"))

    assert found == [
        "slices are 5 mm apart; the network sees neighboring slices and was trained on slices 1 to 1.5 mm apart, so "
        "check its result with care"
    ]


@pytest.mark.parametrize("spacing_mm", [[3.0], ["3", "3"], [0.0, 3.0], [1e9, 1e9]])
def test_a_card_with_another_spacing_is_refused(spacing_mm, tmp_path):
    with pytest.raises(InputError, match="slice_spacing_mm"):
        read_bundle(bundle_of(tmp_path / "model", spacing_mm, **CPCE))


def test_the_card_has_the_ranges_over_series():
    rows = [("P1", "a", z, 0.7, 3.0) for z in (0, 3, 6, 15)] + [("P1", "b", z, 0.8, np.nan) for z in (5, 4, 3)]
    slices = pd.DataFrame(rows, columns=["patient", "series", "position_mm", "pixel_mm", "thickness_mm"])

    assert voxel_sizes(slices) == {"slice_spacing_mm": [1, 3], "pixel_mm": [0.7, 0.8], "thickness_mm": [3, 3]}
    assert voxel_sizes(slices[["patient", "series", "position_mm"]]) == {"slice_spacing_mm": [1, 3]}
    assert voxel_sizes(slices.iloc[:1][["patient", "series", "position_mm"]]) == {}
