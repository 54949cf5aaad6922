"""Image-quality phantoms: HU, place, size and sharpness of their inserts against closed forms, noise, valid DICOM."""

from __future__ import annotations

import csv
import hashlib
import math
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.special

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import UsageError
from ldctpipe.simulation.kernels import match_kernel
from ldctpipe.simulation.phantom_choices import Kind
from ldctpipe.simulation.quality_phantom import PHANTOMS
from ldctpipe.simulation.quality_series import QualityPlan, make_quality_phantom

KINDS = tuple(PHANTOMS)
SIZE, SLICES = 256, 2
CONTRAST_HU = (-1000.0, -100.0, -35.0, 120.0, 340.0, 990.0)
LOW_CONTRAST = {3.0: 14.0, 5.0: 7.0, 7.0: 5.0, 10.0: 3.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    """Return a folder of every kind of phantom; that of resolution has a sharp kernel."""
    root = tmp_path_factory.mktemp("modules")
    for kind in KINDS:
        kernel = "D45f" if kind is Kind.RESOLUTION else "B30f"
        plan = QualityPlan(kind, seed=7, realisations=2, slices=SLICES, size=SIZE, kernel=kernel)
        make_quality_phantom(root / kind.value, plan)
    return {kind: root / kind.value for kind in KINDS}


def _truth(folder: Path, name: str) -> np.ndarray:
    return nibabel.load(folder / "truth" / f"{name}.nii").get_fdata().transpose(2, 1, 0)[0]


def _pixel_mm(folder: Path, name: str) -> float:
    return float(nibabel.load(folder / "truth" / f"{name}.nii").header.get_zooms()[0])


def _hu(folder: Path) -> np.ndarray:
    (series,) = discover(folder).series
    return read_volume(series).hu.astype(np.float64)


def _rows(folder: Path, kind: str) -> list[dict[str, str]]:
    with (folder / "truth" / "inserts.csv").open() as stream:
        return [row for row in csv.DictReader(stream) if row["kind"] == kind]


def _radius_mm(image: np.ndarray, pixel_mm: float, x_mm: float = 0.0, y_mm: float = 0.0) -> np.ndarray:
    line = (np.arange(len(image)) - (len(image) - 1) / 2) * pixel_mm
    return np.hypot(line[None] - x_mm, line[:, None] - y_mm)


@pytest.mark.parametrize("kind", [Kind.CT_NUMBER, Kind.RESOLUTION])
def test_contrast_discs_have_their_hu_where_the_table_says(made: dict[Kind, Path], kind: Kind) -> None:
    truth, pixel_mm = _truth(made[kind], "contrasts"), _pixel_mm(made[kind], "contrasts")
    stored = _hu(made[kind] / "truth" / "contrasts")[0]
    rows = _rows(made[kind], "contrast disc")

    assert sorted(float(row["hu"]) for row in rows) == sorted(CONTRAST_HU)
    for row in rows:
        near = _radius_mm(truth, pixel_mm, float(row["x_mm"]), float(row["y_mm"]))
        for image in (truth, stored):
            assert image[near < 7.0].mean() == pytest.approx(float(row["hu"]), abs=0.5)
            # Half of the contrast is reached at the edge that the table gives.
            middle = image[(near > 9.7) & (near < 10.3)].mean()
            assert middle == pytest.approx(float(row["hu"]) / 2, abs=0.08 * abs(float(row["hu"])))


def test_row_and_column_are_those_of_the_place_in_mm(made: dict[Kind, Path]) -> None:
    truth = _truth(made[Kind.CT_NUMBER], "contrasts")
    for row in _rows(made[Kind.CT_NUMBER], "contrast disc"):
        assert truth[round(float(row["row"])), round(float(row["column"]))] == pytest.approx(float(row["hu"]), abs=1)
        assert (row["first_slice"], row["last_slice"], row["diameter_mm"]) == ("0", str(SLICES - 1), "20.0")


def test_low_contrast_discs_are_those_of_cct189(made: dict[Kind, Path]) -> None:
    folder = made[Kind.LOW_CONTRAST]
    pixel_mm = _pixel_mm(folder, "present")
    signal = _truth(folder, "present") - _truth(folder, "absent")
    rows = _rows(folder, "low-contrast disc")

    assert {float(row["diameter_mm"]): float(row["contrast_hu"]) for row in rows} == LOW_CONTRAST
    for row in rows:
        x_mm, y_mm = float(row["x_mm"]), float(row["y_mm"])
        assert math.hypot(x_mm, y_mm) == pytest.approx(40.0, abs=0.01)
        near = _radius_mm(signal, pixel_mm, x_mm, y_mm) < 12.0
        volume = signal[near].sum() * pixel_mm**2  # a blur keeps it
        area_mm2 = math.pi * float(row["diameter_mm"]) ** 2 / 4
        assert volume == pytest.approx(area_mm2 * float(row["contrast_hu"]), rel=0.01)
        columns, lines = np.meshgrid(*[(np.arange(SIZE) - (SIZE - 1) / 2) * pixel_mm] * 2)
        centre = [(place * signal)[near].sum() / signal[near].sum() for place in (columns, lines)]
        assert centre == pytest.approx([x_mm, y_mm], abs=0.05)


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a resolution phantom with pixels so small that a sharp kernel is hardly undersampled."""
    out = tmp_path_factory.mktemp("sharp") / "out"
    make_quality_phantom(out, QualityPlan(Kind.RESOLUTION, seed=7, realisations=1, slices=1, size=768, kernel="D45f"))
    return out


def test_wire_shows_the_kernel(sharp: Path) -> None:
    (row,) = _rows(sharp, "wire")
    pixel_mm, reach = _pixel_mm(sharp, "lines"), 32
    y, x = round(float(row["row"])), round(float(row["column"]))
    patch = _truth(sharp, "lines")[y - reach : y + reach, x - reach : x + reach]
    transfer = np.abs(np.fft.fft2(patch)) * pixel_mm**2
    frequency = np.fft.fftfreq(2 * reach, pixel_mm)
    radial = np.hypot(frequency[None], frequency[:, None])
    cutoff = match_kernel("D45f").cutoff_per_mm
    expected = 0.5 * (1 + np.cos(np.pi * np.minimum(radial / cutoff, 1)))
    diameter_mm = float(row["diameter_mm"])
    argument = np.pi * diameter_mm * np.maximum(radial, 1e-6)
    wire = float(row["contrast_hu"]) * math.pi * diameter_mm**2 / 4 * 2 * scipy.special.j1(argument) / argument

    below = radial < 1.5  # higher frequencies are folded back by the sampling
    assert (transfer / wire)[below] == pytest.approx(expected[below], abs=0.01)


def test_line_pairs_lie_as_close_as_they_say(sharp: Path) -> None:
    truth, pixel_mm = _truth(sharp, "lines"), _pixel_mm(sharp, "lines")
    rows = _rows(sharp, "line pairs")

    assert [float(row["line_pairs_per_cm"]) for row in rows] == list(range(1, 11))
    for row in rows:
        per_mm = float(row["line_pairs_per_cm"]) / 10
        y, x, reach = round(float(row["row"])), float(row["column"]), 9.0 / pixel_mm
        profile = truth[y, round(x - reach) : round(x + reach)]
        inner = profile[1:-1]
        peaks = np.flatnonzero((inner > profile[:-2]) & (inner >= profile[2:]) & (inner > 350))
        groups = np.split(peaks, np.flatnonzero(np.diff(peaks) > 0.6 / per_mm / pixel_mm) + 1)
        places = [float(group.mean()) for group in groups]
        assert len(places) in (2, 3, 4, 5)
        assert np.diff(places).mean() * pixel_mm == pytest.approx(1 / per_mm, rel=0.06)


def test_water_is_uniform_and_has_its_diameter(made: dict[Kind, Path], tmp_path: Path) -> None:
    make_quality_phantom(tmp_path / "out", QualityPlan(Kind.WATER, 1, 1, 1, size=128, diameter_mm=150.0))
    for folder, diameter_mm in ((made[Kind.WATER], 300.0), (tmp_path / "out", 150.0)):
        truth, pixel_mm = _truth(folder, "water"), _pixel_mm(folder, "water")
        assert np.abs(truth[_radius_mm(truth, pixel_mm) < diameter_mm / 2 - 5]).max() < 0.5
        assert np.abs(truth[_radius_mm(truth, pixel_mm) > diameter_mm / 2 + 5] + 1000).max() < 0.5
        area_mm2 = (truth > -500).sum() * pixel_mm**2
        assert 2 * math.sqrt(area_mm2 / math.pi) == pytest.approx(diameter_mm, rel=0.004)


@pytest.mark.parametrize(("kind", "name"), [(Kind.WATER, "water"), (Kind.LOW_CONTRAST, "absent")])
def test_noise_is_what_was_asked_for(made: dict[Kind, Path], kind: Kind, name: str) -> None:
    truth, pixel_mm = _truth(made[kind], name), _pixel_mm(made[kind], name)
    middle = _radius_mm(truth, pixel_mm) < 25
    full, low = (
        np.concatenate([(_hu(made[kind] / f"{name}_R00{n}" / dose) - truth)[:, middle].ravel() for n in (1, 2)])
        for dose in ("full_dose", "low_dose")
    )

    assert full.std() == pytest.approx(12.0, rel=0.06)
    assert 3.8 < low.var() / full.var() < 4.8  # electronic noise adds a little to 4
    assert abs(full.mean()) < 1 and abs(low.mean()) < 2


def test_realisations_share_the_truth_and_nothing_else(made: dict[Kind, Path]) -> None:
    folder = made[Kind.LOW_CONTRAST]
    noise = [
        (_hu(folder / f"{name}_R00{number}" / "full_dose") - _truth(folder, name))[index, 64:192, 64:192].ravel()
        for name in ("present", "absent")
        for number in (1, 2)
        for index in range(SLICES)
    ]
    correlation = np.corrcoef(noise) - np.eye(len(noise))

    assert np.abs(correlation).max() < 0.06


def test_metal_is_clipped_in_images_and_starves_rays(made: dict[Kind, Path]) -> None:
    folder = made[Kind.METAL]
    truth, pixel_mm = _truth(folder, "metal"), _pixel_mm(folder, "metal")
    (big, *_), (steel,) = _rows(folder, "titanium"), _rows(folder, "steel")
    near = _radius_mm(truth, pixel_mm, float(big["x_mm"]), float(big["y_mm"])) < 7
    low = np.concatenate([_hu(folder / f"metal_R00{number}" / "low_dose") for number in (1, 2)])
    noise = (low - truth)[:, 64:192, 64:192]
    row = round(float(steel["row"])) - 64

    assert truth[near].mean() == pytest.approx(4000, abs=1)
    assert (low[:, near] == 3071).all()
    assert truth.max() > 8000
    between, beside = noise[:, row - 2 : row + 3, 54:74], noise[:, row - 40 : row - 20, 54:74]
    assert between.std() > 1.3 * beside.std()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_modules_are_valid_dicom(made: dict[Kind, Path], kind: Kind) -> None:
    folders = sorted({path.parent for path in made[kind].rglob("*.dcm")})
    assert {folder.name for folder in folders} >= {"full_dose", "low_dose"}
    for folder in folders:
        image = next(folder.glob("*.dcm"))
        report = subprocess.run(["dciodvfy", str(image)], capture_output=True, text=True, check=False)
        assert "Error" not in report.stdout + report.stderr, image


def _digest(out: Path) -> list[str]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return [f"{path.relative_to(out)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_module(tmp_path: Path, kind: Kind) -> None:
    for name, seed, threads in (("one", 5, 1), ("two", 5, 2), ("other", 6, 1)):
        make_quality_phantom(tmp_path / name, QualityPlan(kind, seed, 1, 2, size=64, threads=threads))

    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")
    images = [{line for line in _digest(tmp_path / name) if ".dcm" in line} for name in ("one", "other")]
    assert not images[0] & images[1]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Kind.LOW_CONTRAST, {"diameter_mm": 60.0}),
        (Kind.WATER, {"diameter_mm": 900.0}),
        (Kind.WATER, {"kernel": "whatever"}),
        (Kind.WATER, {"noise_hu": 0.0}),
        (Kind.WATER, {"dose": 1.0}),
        (Kind.WATER, {"size": 100}),
    ],
)
def test_refuses_a_module_that_can_not_be_made(tmp_path: Path, kind: Kind, options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        make_quality_phantom(tmp_path / "out", QualityPlan(kind, 1, **options))
    assert not (tmp_path / "out").exists()
