"""Whose scan is whose: what `denoise` writes for several patients, flat folders of NIfTI, and the paper's patient."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from small_bundle import write_small_bundle
from small_dicom import write_ct

from ldctpipe.cli.app import run
from ldctpipe.dicom.deidentification import Deidentifier
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.inference.denoise import DenoiseRequest, denoise
from ldctpipe.inference.job import OutputForm
from ldctpipe.metrics.cohort import patients_of
from ldctpipe.metrics.evaluation import evaluate_cohort
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.metrics.scan_folders import bare_name
from ldctpipe.metrics.table import relation_to_published

MAYO = find_protocol("mayo-soft")
NETWORK = "grouped_resnet.GroupedResNet"
PATIENTS = ("L067", "L506")
# Folders of one patient's low and full dose below the root of a cohort
LAYOUTS = {
    "AAPM-Mayo by dose": ("quarter_3mm/{}/quarter_3mm", "full_3mm/{}/full_3mm"),
    "AAPM-Mayo by patient": ("{}/quarter_3mm", "{}/full_3mm"),
    "TCIA": ("{}/01-01-2020-1/1.000000-Low Dose Images-1", "{}/01-01-2020-1/2.000000-Full Dose Images-2"),
    "by dose": ("{}/low_dose", "{}/full_dose"),
}


def hu_of(patient: int, noise_hu: float, slices: int = 3) -> np.ndarray:
    """A body of a patient's own, different from slice to slice, in noise: (slices, 64, 64) HU."""
    random = np.random.default_rng([patient, int(noise_hu)])
    rows, columns = np.indices((64, 64)) - 32
    radii = 18 + 3 * np.arange(slices) + patient
    inside = np.hypot(rows, columns * 1.2)[None] < radii[:, None, None]
    organ = np.hypot(rows - 5, columns - 4 * patient)[None] < radii[:, None, None] / 3
    clean = np.where(inside, np.where(organ, 110, 40), -1000)
    return np.rint(clean + random.normal(0, noise_hu, clean.shape)).astype(np.int16)


def put_dicom(folder: Path, patient: int, noise_hu: float, series: int, **attributes: str) -> None:
    root = f"1.2.826.0.1.3680043.8.498.{patient + 1}"
    for index, hu in enumerate(hu_of(patient, noise_hu)):
        own = {
            "StudyInstanceUID": root,
            "SeriesInstanceUID": f"{root}.{series}",
            "SOPInstanceUID": f"{root}.{series}.{index}",
            "FrameOfReferenceUID": f"{root}.9",
            "PatientID": f"{4711 + patient}",
            "InstanceNumber": index + 1,
        }
        write_ct(folder / f"{index}.IMA", (hu + 1024).clip(0, 4095).astype(np.uint16), 3.0 * index, **own | attributes)


def put_cohort(root: Path, layout: str) -> Path:
    for number, patient in enumerate(PATIENTS):
        for series, (noise_hu, folder) in enumerate(zip((40, 10), LAYOUTS[layout], strict=True), 1):
            put_dicom(root / folder.format(patient), number, noise_hu, series)
    return root


def put_nifti(path: Path, hu: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-0.8, -0.7, 3, 1])), path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("model") / "bundle", NETWORK, channels=8, blocks=1, groups=2)


@pytest.fixture(scope="module")
def denoised(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """What `denoise` writes for the low doses of both patients: a folder each, called by a key."""
    root = tmp_path_factory.mktemp("denoised")
    cohort = put_cohort(root / "cohort", "AAPM-Mayo by dose")
    denoise(DenoiseRequest(cohort / "quarter_3mm", root / "out", model, device="cpu"))
    assert not {path.name for path in (root / "out").iterdir()} & set(PATIENTS)
    return root / "out"


def summary_of(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reference", ["cohort", "sheet"])
def test_what_denoise_writes_for_several_patients_is_evaluated(
    denoised: Path, tmp_path: Path, layout: str, reference: str
) -> None:
    cohort = put_cohort(tmp_path / "cohort", layout)
    if reference == "sheet":
        low, full = LAYOUTS[layout]
        rows = [f"{name},cohort/{low.format(name)},cohort/{full.format(name)},test" for name in PATIENTS]
        cohort = tmp_path / "sheet.csv"
        cohort.write_text("\n".join(["patient,low_dose,full_dose,split", *rows]))

    found = patients_of(denoised, cohort, cohort)

    assert [one.patient for one in sorted(found.patients, key=lambda one: one.patient)] == list(PATIENTS)
    assert (found.left_out, found.warnings) == ({}, [])
    for one in found.patients:
        assert one.patient in one.low_dose.parts and one.patient in one.full_dose.parts
        assert one.low_dose != one.full_dose and one.model


def test_the_figures_are_each_patients_own(denoised: Path, tmp_path: Path) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    evaluate_cohort(denoised, cohort, cohort, tmp_path / "out", MAYO, threads=1)

    summary = summary_of(tmp_path / "out")
    assert sorted(summary["patients"]) == list(PATIENTS)
    assert (summary["n_patients"], summary["n_slices"], summary["left_out_slices"]) == (2, 6, 0)


def test_links_to_source_images_do_where_the_manifest_is_gone(denoised: Path, tmp_path: Path) -> None:
    copy = tmp_path / "denoised"
    shutil.copytree(denoised, copy)
    for manifest in copy.glob("*/manifest.json"):
        manifest.unlink()
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    for file in (cohort / PATIENTS[0]).rglob("*.IMA"):
        file.unlink()
    put_dicom(cohort / PATIENTS[0] / "low_dose", 0, 40, 1)
    # the full dose was anonymised: neither study nor PatientID lead to it, but its folder does
    put_dicom(cohort / PATIENTS[0] / "full_dose", 0, 10, 2, StudyInstanceUID="1.2.3", PatientID="X")

    assert sorted(one.patient for one in patients_of(copy, cohort, cohort).patients) == list(PATIENTS)


def test_where_no_uid_leads_to_a_patient_the_remedy_works(model: Path, tmp_path: Path) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    keys = {}
    for number in (0, 1):
        folder = tmp_path / "unknown" / f"key{number}"
        put_dicom(folder, number, 20, 7, StudyInstanceUID="1.2.3", PatientID="ANON")
        keys[folder] = PATIENTS[number]

    with pytest.raises(InputError, match=r"give its folders or files the names used there \(L067, L506\)"):
        patients_of(tmp_path / "unknown", cohort, cohort)
    for folder, patient in keys.items():
        folder.rename(folder.with_name(patient))
    assert len(patients_of(tmp_path / "unknown", cohort, cohort).patients) == 2


def test_of_a_cohort_that_was_denoised_as_a_whole_the_low_dose_is_measured(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    denoise(DenoiseRequest(cohort, tmp_path / "both", model, device="cpu"))
    denoise(DenoiseRequest(cohort / "L506" / "low_dose", tmp_path / "low", model, device="cpu"))

    for name, patients in (("both", 2), ("low", 1)):
        evaluate_cohort(tmp_path / name, cohort, cohort, tmp_path / f"of_{name}", MAYO, threads=1)
        summary = summary_of(tmp_path / f"of_{name}")
        assert (summary["n_patients"], summary["n_slices"]) == (patients, 3 * patients)

    assert capsys.readouterr().err.count("1 series made from the full dose are not measured") == 2
    ours, alone = (summary_of(tmp_path / f"of_{name}")["patients"]["L506"] for name in ("both", "low"))
    assert ours == alone


def test_of_a_cohort_deidentified_as_a_whole_the_low_dose_is_measured(model: Path, tmp_path: Path) -> None:
    """No manifest tells what was made from what, and what was made from the full dose is the more like it."""
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    for name, source in (("both", cohort / "L506"), ("low", cohort / "L506" / "low_dose")):
        form = OutputForm(deidentifier=Deidentifier(b"key" * 8))
        denoise(DenoiseRequest(source, tmp_path / name, model, device="cpu", form=form))
        pair = cohort / "L506" / "full_dose", cohort / "L506" / "low_dose"
        evaluate_cohort(tmp_path / name, *pair, tmp_path / f"of_{name}", MAYO, threads=1, patient="L506")

    both, low = (summary_of(tmp_path / f"of_{name}")["patients"]["L506"] for name in ("both", "low"))
    assert both == low


def test_what_was_made_from_the_full_dose_is_told(model: Path, tmp_path: Path) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    denoise(DenoiseRequest(cohort / "L506" / "full_dose", tmp_path / "denoised", model, device="cpu"))

    evaluate_cohort(tmp_path / "denoised", cohort, cohort, tmp_path / "out", MAYO, threads=1)

    assert any("was made from the full dose" in warning for warning in summary_of(tmp_path / "out")["warnings"])


def test_a_patient_of_another_split_than_test_is_told(tmp_path: Path) -> None:
    put_cohort(tmp_path / "cohort", "by dose")
    rows = [
        f"{name},cohort/{name}/low_dose,cohort/{name}/full_dose,{split}"
        for name, split in zip(PATIENTS, ("test", "train"), strict=True)
    ]
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("\n".join(["patient,low_dose,full_dose,split", *rows]))

    for patient, warnings in (("L067", 0), ("L506", 1)):
        put_dicom(tmp_path / patient / patient.lower(), PATIENTS.index(patient), 15, 3)  # in other capitals
        found = patients_of(tmp_path / patient, sheet, sheet)
        assert [one.patient for one in found.patients] == [patient]
        assert sum("another split than test: L506 (train)" in warning for warning in found.warnings) == warnings


def test_of_the_results_of_a_cohort_the_denoised_scans_are_read(tmp_path: Path) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    (tmp_path / "results" / "pipeline_info").mkdir(parents=True)
    for patient in PATIENTS:
        shutil.copytree(cohort / patient / "low_dose", tmp_path / "results" / "denoised" / patient)

    assert [one.patient for one in patients_of(tmp_path / "results", cohort, cohort).patients] == list(PATIENTS)


def test_a_full_dose_anonymised_apart_is_measured_whatever_the_model_left(
    denoised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    for number, patient in enumerate(PATIENTS):
        put_dicom(cohort / patient / "full_dose", number, 10, 2, FrameOfReferenceUID=f"1.2.{number}.7")

    evaluate_cohort(denoised, cohort, cohort, tmp_path / "out", MAYO, threads=1)

    assert summary_of(tmp_path / "out")["n_slices"] == 6
    assert capsys.readouterr().err.count("another frame of reference") == 2


def test_exchanged_doses_are_a_warning_of_the_summary(denoised: Path, tmp_path: Path) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    (cohort / "L506" / "low_dose").rename(cohort / "L506" / "other")
    (cohort / "L506" / "full_dose").rename(cohort / "L506" / "low_dose")
    (cohort / "L506" / "other").rename(cohort / "L506" / "full_dose")

    evaluate_cohort(denoised, cohort, cohort, tmp_path / "out", MAYO, threads=1)

    exchanged = [text for text in summary_of(tmp_path / "out")["warnings"] if "exchanged" in text]
    assert len(exchanged) == 1 and exchanged[0].startswith("Patient L506: low and full dose may be exchanged")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_patient_by_hand_is_comparable_with_the_papers_row(
    model: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of docs/mayo.md §4, with the folders of one patient as they are called in the cohort."""
    cohort = put_cohort(tmp_path / "cohort", layout)
    low, full = (cohort / folder.format("L506") for folder in LAYOUTS[layout])
    if layout == "AAPM-Mayo by dose":
        low, full = low.parent, full.parent
    denoise(DenoiseRequest(low, tmp_path / "denoised", model, device="cpu"))

    for number, reference in enumerate([(full, low), (cohort, cohort)]):
        out = tmp_path / f"out{number}"
        arguments = [str(tmp_path / "denoised"), str(reference[0]), str(out), "--low-dose", str(reference[1])]
        assert run(["evaluate", *arguments, "--quiet"]) == 0
        assert list(summary_of(out)["patients"]) == ["L506"]
        slices = summary_of(out)["n_slices"]
        assert f"L506 (211 slices) ({slices} slices here: not comparable)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("patients", "slices", "words"),
    [
        (["L506"], 211, "same patient"),
        (["L506"], 4, "4 slices here: not comparable"),  # a phantom of that name, or a part of the scan
        (["L506", "L067"], 211, "other data: not comparable"),
        (["P1"], 211, "other data: not comparable"),
    ],
)
def test_a_name_alone_makes_nothing_comparable(patients: list[str], slices: int, words: str) -> None:
    assert relation_to_published({"patients": dict.fromkeys(patients), "n_slices": slices}) == words


def test_the_patient_can_be_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    for role, noise_hu in (("denoised", 20), ("full", 10), ("low", 40)):
        put_dicom(tmp_path / role, 1, noise_hu, 5, StudyInstanceUID="1.2.3", PatientID="ANON")
    scans = [tmp_path / name for name in ("denoised", "full", "low")]

    assert [one.patient for one in patients_of(*scans).patients] == ["denoised"]
    assert [one.patient for one in patients_of(*scans, "L506").patients] == ["L506"]
    with pytest.raises(InputError, match="--patient"):
        patients_of(scans[0], cohort, cohort)
    (found,) = patients_of(scans[0], cohort, cohort, "L506").patients
    assert found.full_dose == cohort / "L506" / "full_dose"
    with pytest.raises(UsageError, match="names one patient"):
        patients_of(cohort, cohort, cohort, "L506")


@pytest.mark.parametrize(
    "names",
    [
        ("{}.nii.gz", "{}.nii.gz", "{}.nii.gz"),
        ("{}.nii", "{}.nii.gz", "{}_0000.nii.gz"),
        ("{}_low_denoised.nii.gz", "{}_full.nii.gz", "{}_low.nii.gz"),
        ("ld_{}.nii.gz", "fd_{}.nii.gz", "ld_{}.nii.gz"),
    ],
)
def test_files_in_a_flat_folder_are_patients(tmp_path: Path, names: tuple[str, str, str]) -> None:
    roles = (("denoised", 15), ("full", 10), ("low", 40))
    for (role, noise_hu), name in zip(roles, names, strict=True):
        for patient in range(3):
            put_nifti(tmp_path / role / name.format(f"patient{patient + 1}"), hu_of(patient, noise_hu))
    folders = [tmp_path / role for role, _ in roles]

    table = evaluate_cohort(*folders, tmp_path / "out", MAYO, threads=1)

    summary = summary_of(tmp_path / "out")
    assert list(summary["patients"]) == ["patient1", "patient2", "patient3"]
    assert summary["slices_per_patient"] == dict.fromkeys(summary["patients"], 3)
    assert summary["methods"]["denoised"]["psnr_db"]["sd"] is not None and "sd over patients" in table


def test_denoised_nifti_named_by_keys_lead_to_their_sources(model: Path, tmp_path: Path) -> None:
    for patient in range(3):
        put_nifti(tmp_path / "low" / f"P{patient}.nii.gz", hu_of(patient, 40))
        put_nifti(tmp_path / "full" / f"P{patient}.nii.gz", hu_of(patient, 10))
    denoise(DenoiseRequest(tmp_path / "low", tmp_path / "out", model, device="cpu"))
    for patient in range(3):  # as with --deidentify
        for ending in ("nii.gz", "nii.gz.manifest.json"):
            (tmp_path / "out" / f"P{patient}.{ending}").rename(tmp_path / "out" / f"key{patient}.{ending}")

    found = patients_of(tmp_path / "out", tmp_path / "full", tmp_path / "low").patients

    assert [(one.patient, one.denoised.name) for one in found] == [(f"P{n}", f"key{n}.nii.gz") for n in range(3)]


def test_files_of_several_patients_with_other_names_are_no_single_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for role, noise_hu, names in (("denoised", 15, "abc"), ("full", 10, "xyz"), ("low", 40, "xyz")):
        for patient, name in enumerate(names):
            put_nifti(tmp_path / role / f"{name}.nii.gz", hu_of(patient, noise_hu))

    arguments = [str(tmp_path / name) for name in ("denoised", "full", "out")]
    assert run(["evaluate", *arguments, "--low-dose", str(tmp_path / "low")]) == ExitCode.INPUT
    error = capsys.readouterr().err
    assert "(a, b, c)" in error and "(x, y, z)" in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("patient1", "patient1"), ("patient1_low", "patient1"), ("P_0000", "P"), ("P-full-dose", "P"), ("low_P", "P"),
        ("low", "low"), ("L506_QD", "L506"), ("P1_quarter_dose_denoised", "P1"), ("fold", "fold"), ("gold", "gold"),
    ],
)  # fmt: skip
def test_roles_are_no_part_of_a_name(name: str, bare: str) -> None:
    assert bare_name(name) == bare


def test_every_patient_of_a_sheet_that_is_left_out_is_counted_and_named(denoised: Path, tmp_path: Path) -> None:
    cohort = put_cohort(tmp_path / "cohort", "by dose")
    put_dicom(cohort / "L8" / "low_dose", 5, 40, 1)
    put_dicom(cohort / "L9" / "full_dose", 6, 10, 1)
    (tmp_path / "sheet.csv").write_text(
        "patient,low_dose,full_dose,split\n"
        "L506,cohort/L506/low_dose,cohort/L506/full_dose,test\n"
        "L067,cohort/L067/low_dose,cohort/L067/full_dose,train\n"
        "L8,cohort/L8/low_dose,,test\n"
        "L9,,cohort/L9/full_dose,validation\n"
    )
    one = tmp_path / "denoised"
    one.mkdir()
    for folder in denoised.iterdir():
        if patients_of(folder, cohort, cohort).patients[0].patient == "L506":
            shutil.copytree(folder, one / folder.name)

    evaluate_cohort(one, tmp_path / "sheet.csv", tmp_path / "sheet.csv", tmp_path / "out", MAYO, threads=1)

    summary = summary_of(tmp_path / "out")
    assert summary["left_out_patients"] == {
        "L8": "was not denoised",
        "L067": "is for train and was not denoised",
        "L9": "is for validation and was not denoised",
    }
    assert any("1 patient(s) were not denoised and are left out: L8" in text for text in summary["warnings"])
