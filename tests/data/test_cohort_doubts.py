"""What is wrong with a cohort though every pair fits: doses exchanged, and one scan under two names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from noisy_body import noisy_body
from small_dicom import body, write_ct

from ldctpipe.data.dose_order import exchanged_doses
from ldctpipe.data.preparation import prepare_store
from ldctpipe.data.samplesheet import rows_of_cohort
from ldctpipe.data.scan_origin import origin_of
from ldctpipe.data.scans import load_volumes
from ldctpipe.errors import InputError
from ldctpipe.volumes.case import write_case
from ldctpipe.volumes.volume import Acquisition, Volume

AFFINE = np.diag([-0.7, -0.7, 3.0, 1.0])
SLICES = 9


def stack(noise_hu: float, mas: float | None = None, seed: int = 0) -> Volume:
    rows, columns = np.indices((96, 96)) - 48
    clean = np.where(np.hypot(rows, columns) < 40, np.where(np.hypot(rows, columns - 9) < 8, 90, 40), -1000)
    hu = clean[None] + np.random.default_rng(seed).normal(0, noise_hu, (3, 96, 96))
    acquisition = Acquisition(exposure_mas=None if mas is None else (mas, None, mas))
    return Volume(np.rint(hu).astype(np.int16), AFFINE, 3.0 * np.arange(3), acquisition=acquisition)


@pytest.mark.parametrize(
    ("low", "full", "words"),
    [
        ((10, None), (40, None), "noise is"),
        ((10, 200), (40, 50), "noise is .* 200 for the low and 50"),
        ((0, 200), (0, 50), "200 for the low"),  # phantoms without noise: headers alone tell
        ((0, None), (20, None), "noise is"),
    ],
)
def test_exchanged_doses_are_told_by_noise_or_exposure(low: tuple, full: tuple, words: str) -> None:
    every = np.arange(3)
    found = exchanged_doses(stack(*low), stack(*full, seed=1), every, every)
    assert found is not None
    with pytest.raises(ValueError, match=words):
        raise ValueError(found)


@pytest.mark.parametrize(
    ("low", "full"),
    [
        ((40, 50), (10, 200)),
        ((40, None), (10, None)),
        ((11, 100), (10, 100)),  # one dose twice
        ((10, 100), (11, 100)),
        ((0, None), (0, None)),
        ((0, 50), (0, 50)),
        ((40, 200), (10, 50)),  # noise is what counts, and headers of simulated doses can be the source's
    ],
)
def test_doses_in_order_equal_doses_and_phantoms_without_noise_are_not_called_exchanged(
    low: tuple, full: tuple
) -> None:
    every = np.arange(3)
    assert exchanged_doses(stack(*low), stack(*full, seed=1), every, every) is None


def test_real_scans_with_noise_added_are_called_exchanged_only_where_they_are(real_data: Path) -> None:
    (full,) = load_volumes(real_data / "head_ge_tilted")
    noise = np.random.default_rng(0).normal(0, 25, full.hu.shape)
    low = replace(full, hu=np.rint(full.hu + noise).clip(-1024, 3071).astype(np.int16))
    every = np.arange(len(full.hu))

    assert exchanged_doses(low, full, every, every) is None
    assert exchanged_doses(full, full, every, every) is None
    assert "noise is" in str(exchanged_doses(full, low, every, every))


def put(root: Path, patient: str, seed: int, *, exchanged: bool = False) -> None:
    stacks = noisy_body(SLICES, 64, seed)
    for role, hu in zip(("low_dose", "full_dose"), reversed(stacks) if exchanged else stacks, strict=True):
        folder = root / patient / role / f"{patient}{role}"
        folder.mkdir(parents=True)
        write_case(folder, Volume(hu, AFFINE, 3.0 * np.arange(SLICES), key=folder.name))


def sheet_of(root: Path, **splits: str) -> Path:
    rows = [f"{patient},{patient}/low_dose,{patient}/full_dose,{split}" for patient, split in splits.items()]
    (root / "sheet.csv").write_text("\n".join(["patient,low_dose,full_dose,split", *rows]))
    return root / "sheet.csv"


def test_prepare_warns_of_exchanged_doses_and_names_who_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, patient in enumerate(("P1", "P2", "P3")):
        put(tmp_path, patient, seed, exchanged=patient == "P2")

    prepare_store(sheet_of(tmp_path, P1="train", P2="train", P3="test"), tmp_path / "store", threads=1)

    told = capsys.readouterr().err
    assert "patient P2: low and full dose may be exchanged" in told and "patient P1: low" not in told
    assert "1 patient(s) are for testing and left out: P3" in told


def as_another_case(hu: np.ndarray, folder: Path) -> None:
    folder.mkdir(parents=True)
    write_case(folder, Volume(hu, AFFINE, 3.0 * np.arange(len(hu)), key="another"))


def without_some(hu: np.ndarray, folder: Path) -> None:
    folder.mkdir(parents=True)
    write_case(folder, Volume(hu[:-1], AFFINE, 3.0 * np.arange(len(hu) - 1), key="shorter"))


def moved(hu: np.ndarray, folder: Path) -> None:
    folder.mkdir(parents=True)
    affine = AFFINE.copy()
    affine[2, 3] = -711
    write_case(folder, Volume(hu, affine, 3.0 * np.arange(len(hu)), key="moved"))


def as_nifti(hu: np.ndarray, folder: Path) -> None:
    folder.mkdir(parents=True)
    affine = np.diag([-0.7, 0.7, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(hu[:, ::-1].transpose(2, 1, 0), affine), folder / "scan.nii.gz")


def as_dicom(hu: np.ndarray, folder: Path) -> None:
    for index, image in enumerate(hu):
        stored = (image.astype(np.int32) + 1024).clip(0, 4095).astype(np.uint16)
        position = [0, 0, 3.0 * index]
        write_ct(folder / f"{index}.dcm", stored, 3.0 * index, ImagePositionPatient=position, PixelSpacing=[0.7, 0.7])


@pytest.mark.parametrize("exported", [as_another_case, without_some, moved, as_nifti, as_dicom])
@pytest.mark.parametrize("role", ["full_dose", "low_dose"])
def test_one_scan_under_two_names_in_train_and_test_is_refused(
    tmp_path: Path, exported: Callable[[np.ndarray, Path], None], role: str
) -> None:
    low, full = noisy_body(SLICES, 64, 0)
    put(tmp_path, "P1", 0)
    put(tmp_path, "P2", 1)
    put(tmp_path, "P3", 2)
    folder = tmp_path / "P3" / role
    (tmp_path / "kept").mkdir()
    folder.rename(tmp_path / "kept" / role)
    exported(full if role == "full_dose" else low, folder)
    sheet = sheet_of(tmp_path, P1="train", P2="validation", P3="test")

    with pytest.raises(InputError, match=r"patients P1 \(train\) and P3 \(test\) are the same scan") as refusal:
        prepare_store(sheet, tmp_path / "store", threads=1)

    assert refusal.value.path == sheet and "\n" not in str(refusal.value)
    assert not (tmp_path / "store").exists()


def test_one_scan_twice_in_training_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for patient, seed in (("P1", 0), ("P2", 0), ("P3", 1)):
        put(tmp_path, patient, seed)

    prepare_store(sheet_of(tmp_path, P1="train", P2="train", P3="validation"), tmp_path / "store", threads=1)

    assert capsys.readouterr().err.count("patients P1 (train) and P2 (train) are the same scan") == 1


def test_the_samplesheet_says_what_headers_say_against_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def scan(patient: str, role: str, number: int, mas: int) -> None:
        for index in range(2):
            own = {"SeriesInstanceUID": f"1.2.{number}", "SOPInstanceUID": f"1.2.{number}.{index}", "Exposure": mas}
            write_ct(tmp_path / patient / role / f"{index}.dcm", body(number), 3.0 * index, **own)

    for number, (patient, low_mas, full_mas) in enumerate((("P1", 50, 200), ("P2", 200, 50), ("P3", 100, 100))):
        scan(patient, "low_dose", 2 * number + 1, low_mas)
        scan(patient, "full_dose", 2 * number + 2, full_mas)
    scan("P4", "full_dose", 2, 200)

    rows_of_cohort(tmp_path, ["P4"])

    told = capsys.readouterr().err
    assert told.count("exchanged") == 1 and "patient P2: low and full dose may be exchanged" in told
    assert told.count("same UID") == 1 and "patients P1, P4 have a series with the same UID" in told


@pytest.mark.parametrize("text", ["{", "[1]", '{"series": [1, {"key": 2}]}', '{"series": 3}', "\0"])
def test_another_program_s_manifest_beside_scans_is_passed_over(tmp_path: Path, text: str) -> None:
    scan = tmp_path / "P1" / "low_dose"
    write_ct(scan / "1.dcm", body())
    (scan / "manifest.json").write_text(text)

    assert len(origin_of(scan).series) == 1
    assert [row.patient for row in rows_of_cohort(tmp_path, every_entry=True)] == ["P1"]


@pytest.mark.parametrize("series", ["3", "[1]", '[{"key": 2}]', '[{"key": "a", "files": []}]'])
def test_a_damaged_manifest_of_results_is_refused(tmp_path: Path, series: str) -> None:
    (tmp_path / "manifest.json").write_text(f'{{"format": "ldctpipe-denoised@1", "series": {series}}}')

    with pytest.raises(InputError, match="damaged manifest"):
        origin_of(tmp_path)
