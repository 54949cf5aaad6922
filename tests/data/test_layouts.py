"""Cohort folders with the names that AAPM-Mayo 2016 and TCIA give them, from the tree to the pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_dicom import body, write_ct

from ldctpipe.data.layouts import MayoSeries
from ldctpipe.data.pairing import pair_volumes
from ldctpipe.data.samplesheet import read_sheet, rows_of_cohort, write_sheet
from ldctpipe.data.scans import load_volumes
from ldctpipe.errors import InputError

MAYO_PATIENTS = ("L067", "L096", "L109", "L143", "L192", "L286", "L291", "L310", "L333", "L506")
MAYO_NAME = "{patient}_{dose}_{thickness}_1.CT.0001.{number:04d}.2015.12.22.20.19.39.34094.{tail}.IMA"
PROJECTION_CLASS = "1.2.840.10008.5.1.4.1.1.66"


def write_scan(folder: Path, names: list[str], *, is_low: bool = False, anatomy: int = 0, **attributes: object) -> Path:
    """Write one series with the given file names; a low dose is the same anatomy with more noise."""
    uid = "2.25." + str(abs(hash(str(folder))))
    random = np.random.default_rng(1)
    for index, name in enumerate(names):
        stored = body(anatomy + index).astype(np.int32)
        stored += random.normal(0, 40, stored.shape).astype(np.int32) if is_low else 0
        own = {"SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.{index}", **attributes}
        write_ct(folder / name, stored.clip(0, 4095).astype(np.uint16), 3.0 * index, **own)
    return folder


def mayo_series(
    root: Path, folder: str, patient: str, *, kernel: str | None = "B30f", thickness_mm: int = 3, slices: int = 2
) -> Path:
    dose = "QD" if "quarter" in folder else "FD"
    names = [
        MAYO_NAME.format(
            patient=patient, dose=dose, thickness=thickness_mm, number=number, tail=358074219 + 17 * number
        )
        for number in range(1, slices + 1)
    ]
    anatomy = 10 * int(patient[1:])
    given = {
        "ConvolutionKernel": kernel,
        "SliceThickness": thickness_mm,
        "FrameOfReferenceUID": f"1.2.{int(patient[1:])}",
    }
    return write_scan(root / folder, names, is_low=dose == "QD", anatomy=anatomy, **given)


def mayo(root: Path, *patients: str) -> Path:
    """All reconstructions of AAPM-Mayo 2016, as the grand challenge's folders have them."""
    for patient in patients:
        for dose in ("full", "quarter"):
            mayo_series(root, f"{dose}_3mm/{patient}/{dose}_3mm", patient)
            mayo_series(root, f"{dose}_1mm/{patient}/{dose}_1mm", patient, thickness_mm=1)
            sharp = f"{dose}_3mm_sharp/{patient}/{dose}_3mm_sharp"
            mayo_series(root, sharp, patient, kernel="D45f")
            mayo_series(root, f"1mm D45/{dose}_1mm/{patient}/{dose}_1mm", patient, kernel="D45f", thickness_mm=1)
    return root


def tcia_series(
    root: Path, folder: str, *, is_low: bool, description: str, patient: str = "C002", **more: object
) -> Path:
    names = [f"1-{number:03d}.dcm" for number in range(1, 4)]
    return write_scan(root / folder, names, is_low=is_low, SeriesDescription=description, PatientID=patient, **more)


def tcia(root: Path, patient: str, number: int, *, with_low: bool = True) -> str:
    """One patient of LDCT-and-Projection-data with its projections; returns the folder of the study."""
    study = f"LDCT-and-Projection-data/{patient}/12-23-2021-NA-NA-{number}"
    tcia_series(root, f"{study}/1.000000-Full Dose Images-{number + 1}", is_low=False, description="Full Dose Images")
    for dose in ("Full", "Low") if with_low else ("Full",):
        folder = f"{study}/1.000000-{dose} dose projections-{number + 3}"
        tcia_series(root, folder, is_low=False, description=f"{dose} dose projections", SOPClassUID=PROJECTION_CLASS)
    if with_low:
        tcia_series(root, f"{study}/1.000000-Low Dose Images-{number + 2}", is_low=True, description="Low Dose Images")
    return study


def assert_all_pair(root: Path, sheet: Path, mayo: MayoSeries | None = None) -> list[str]:
    """Make the samplesheet of `root`, read it again, pair what it names, and return the patients."""
    write_sheet(sheet, rows_of_cohort(root, mayo=mayo))
    rows = read_sheet(sheet)
    for row in rows:
        assert row.low_dose
        assert row.full_dose
        (pair,) = pair_volumes(load_volumes(row.low_dose), load_volumes(row.full_dose))
        assert len(pair.low_index) == len(pair.full.hu) == len(pair.low.hu)
    return [row.patient for row in rows]


@pytest.mark.parametrize(
    ("series", "full_dose"),
    [
        (MayoSeries("3mm", "B30"), "full_3mm/L067/full_3mm"),
        (MayoSeries("1mm", "B30"), "full_1mm/L067/full_1mm"),
        (MayoSeries("3mm", "D45"), "full_3mm_sharp/L067/full_3mm_sharp"),
        (MayoSeries("1mm", "D45"), "1mm D45/full_1mm/L067/full_1mm"),
    ],
)
def test_each_reconstruction_of_aapm_mayo_is_found_and_pairs(
    tmp_path: Path, series: MayoSeries, full_dose: str
) -> None:
    root = mayo(tmp_path / "mayo", "L506", "L067")

    assert assert_all_pair(root, tmp_path / "sheet.csv", series) == ["L067", "L506"]

    first, last = rows_of_cohort(root, mayo=series)
    assert first.full_dose == root / full_dose
    assert first.low_dose == root / full_dose.replace("full", "quarter")
    assert (first.split, last.split) == ("train", "test")


def test_the_ten_patients_come_in_order_and_l506_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for patient in MAYO_PATIENTS:
        for dose in ("full", "quarter"):
            mayo_series(tmp_path / "mayo", f"{dose}_3mm/{patient}/{dose}_3mm", patient)

    assert tuple(assert_all_pair(tmp_path / "mayo", tmp_path / "sheet.csv")) == MAYO_PATIENTS
    assert [row.patient for row in read_sheet(tmp_path / "sheet.csv") if row.split == "test"] == ["L506"]
    assert "L506 is held out" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["{patient}/{series}", "{series}/{patient}", "mayo/{patient}/{patient}/{series}"])
def test_other_orders_of_the_same_names_are_found(tmp_path: Path, folder: str) -> None:
    for patient in ("L067", "L333"):
        for series in ("full_3mm", "quarter_3mm"):
            mayo_series(tmp_path / "in", folder.format(patient=patient, series=series), patient)

    assert assert_all_pair(tmp_path / "in", tmp_path / "sheet.csv") == ["L067", "L333"]


def test_the_unpacked_archives_with_the_quarter_dose_only_test_set_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "unpacked"
    for dose in ("full", "quarter"):
        mayo_series(root, f"Training_Image_Data/1mm B30/{dose}_1mm/L067/{dose}_1mm", "L067", thickness_mm=1)
        sharp = f"Training_Image_Data/1mm D45/{dose}_1mm_sharp/L067/{dose}_1mm_sharp"
        mayo_series(root, sharp, "L067", kernel="D45f", thickness_mm=1)
    mayo_series(root, "Testing_Image_Data/1mm B30/quarter_1mm/L008/quarter_1mm", "L008", thickness_mm=1)

    assert assert_all_pair(root, tmp_path / "sheet.csv", MayoSeries("1mm", "B30")) == ["L067"]
    assert "no full dose: L008" in capsys.readouterr().err
    (alone,) = rows_of_cohort(root / "Testing_Image_Data", mayo=MayoSeries("1mm", "B30"))
    assert (alone.patient, alone.full_dose) == ("L008", None)


def test_the_kernel_of_the_header_is_believed_where_names_are_silent(tmp_path: Path) -> None:
    for dose in ("full", "quarter"):
        mayo_series(tmp_path, f"A/{dose}_3mm/L067/{dose}_3mm", "L067")
        mayo_series(tmp_path, f"B/{dose}_3mm/L067/{dose}_3mm", "L067", kernel="D45f")
        mayo_series(tmp_path, f"{dose}_1mm_sharp/L067/{dose}_1mm_sharp", "L067", kernel=None, thickness_mm=1)

    (sharp,) = rows_of_cohort(tmp_path, mayo=MayoSeries("3mm", "D45"))
    (by_name,) = rows_of_cohort(tmp_path, mayo=MayoSeries("1mm", "D45"))

    assert sharp.full_dose == tmp_path / "B/full_3mm/L067/full_3mm"
    assert by_name.full_dose == tmp_path / "full_1mm_sharp/L067/full_1mm_sharp"
    with pytest.raises(InputError, match="no 1mm B30 series, only 1mm D45, 3mm B30, 3mm D45"):
        rows_of_cohort(tmp_path, mayo=MayoSeries("1mm", "B30"))


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ({"kernel": "D45f"}, "kernels B30f and D45f together; move each kernel"),
        ({"thickness_mm": 1}, "slices of 1 and 3 mm in spite of its name"),
    ],
)
def test_two_series_mixed_in_one_folder_are_refused(tmp_path: Path, second: dict, fault: str) -> None:
    for dose in ("full", "quarter"):
        mayo_series(tmp_path, f"{dose}_3mm/L067/{dose}_3mm", "L067", slices=5)
    mayo_series(tmp_path, "full_3mm/L067/full_3mm", "L067", **second)

    with pytest.raises(InputError, match=fault):
        rows_of_cohort(tmp_path)


def test_two_full_doses_of_a_patient_are_named(tmp_path: Path) -> None:
    mayo_series(tmp_path, "A/full_3mm/L067/full_3mm", "L067")
    mayo_series(tmp_path, "B/full_3mm/L067/full_3mm", "L067")

    with pytest.raises(InputError, match=r"L067 has two full_dose series \(A/full_3mm.* and B/.*; write a samplesheet"):
        rows_of_cohort(tmp_path)


def test_quarter_and_full_dose_files_in_one_folder_are_not_taken_for_a_full_dose(tmp_path: Path) -> None:
    mayo_series(tmp_path, "L067", "L067")
    write_scan(tmp_path / "L067", ["L067_QD_3_1.CT.0001.0001.2015.12.22.18.09.40.840353.358074219.IMA"])

    with pytest.raises(InputError, match=r"holds quarter-dose images .* move them to PATIENT/quarter_3mm"):
        rows_of_cohort(tmp_path)


def test_tcia_pairs_without_its_projections(tmp_path: Path) -> None:
    studies = {
        patient: tcia(tmp_path / "in", patient, 100 * index) for index, patient in enumerate(("C002", "L014", "N003"))
    }

    assert assert_all_pair(tmp_path / "in", tmp_path / "sheet.csv") == ["C002", "L014", "N003"]
    row = rows_of_cohort(tmp_path / "in" / "LDCT-and-Projection-data")[0]
    assert row.low_dose == tmp_path / "in" / studies["C002"] / "1.000000-Low Dose Images-2"


def test_a_tcia_patient_without_low_dose_images_stays_for_the_simulation(tmp_path: Path) -> None:
    tcia(tmp_path, "C002", 10)
    tcia(tmp_path, "C100", 20, with_low=False)

    rows = rows_of_cohort(tmp_path)

    assert [(row.patient, row.low_dose is None, row.full_dose is None) for row in rows] == [
        ("C002", False, False),
        ("C100", True, False),
    ]


@pytest.mark.parametrize("parents", ["LDCT-and-Projection-data/{patient}/1.3.6.1.4.1.9328.50.{patient}/", ""])
def test_tcia_series_in_folders_named_by_uids_are_told_by_their_headers(tmp_path: Path, parents: str) -> None:
    for number, patient in enumerate(("L014", "N003")):
        for is_low in (False, True):
            description = "Low Dose Images" if is_low else "Full Dose Images"
            folder = f"{parents.format(patient=patient)}1.3.6.1.4.1.9328.50.{number}{int(is_low)}"
            tcia_series(tmp_path / "in", folder, is_low=is_low, description=description, patient=patient)

    assert assert_all_pair(tmp_path / "in", tmp_path / "sheet.csv") == ["L014", "N003"]


def test_a_header_that_is_no_tcia_number_names_nobody(tmp_path: Path) -> None:
    tcia_series(tmp_path / "in", "1.2.3", is_low=False, description="Full Dose Images", patient="Doe^Jane")

    assert [row.patient for row in rows_of_cohort(tmp_path / "in")] == ["1.2.3"]
