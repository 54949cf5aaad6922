"""What can't be read for a while is neither refused for good nor taken for missing: the next run does it."""

from __future__ import annotations

import errno
import gzip
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from broken_cohort import write_patients
from noisy_body import noisy_body
from small_bundle import write_small_bundle
from small_dicom import write_series
from unreadable import unreadable

from ldctpipe.cli.app import run
from ldctpipe.data.samplesheet import rows_of_cohort
from ldctpipe.data.scans import load_volumes
from ldctpipe.dicom import decoding
from ldctpipe.errors import ExitCode, InputError, ReadError, is_transient


@pytest.fixture(scope="module")
def quick_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "model", "red_cnn.RedCnn", channels=2)


def ldctpipe(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


def denoise_cohort(cohort: Path, out: Path, model: Path) -> dict[str, dict]:
    """Denoise a cohort, and return the row of each patient's only series."""
    command = ("cohort", "denoise", cohort, out, "--model", model, "--device", "cpu", "--quiet")
    assert ldctpipe(*command) == ExitCode.DONE
    assert ldctpipe("cohort", "manifest", out, out, "--overwrite") == ExitCode.DONE
    return {row["patient"]: row for row in json.loads((out / "manifest.json").read_text())["series"]}


def write_nifti(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = noisy_body(slices=2, side=64, seed=seed)[0].transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.7, -0.7, 3, 1])), path)
    return path


@pytest.mark.parametrize(
    ("number", "is_worth_another_try"),
    [
        *((number, True) for number in (errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOENT, errno.ETIMEDOUT)),
        *((number, True) for number in (errno.EPERM, errno.EMFILE, errno.EHOSTDOWN, errno.ENOTCONN)),
        *((number, False) for number in (errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR)),
    ],
)
def test_which_failures_may_be_over_at_the_next_try(number: int, is_worth_another_try: bool) -> None:
    assert is_transient(OSError(number, "")) == is_worth_another_try


def test_what_a_library_says_of_a_format_is_no_failure_to_read() -> None:
    assert not is_transient(gzip.BadGzipFile("Not a gzipped file"))
    assert is_transient(FileNotFoundError("No such file or no access"))


@pytest.mark.parametrize(("number", "lost"), [(errno.EACCES, "all"), (errno.EIO, "one")])
def test_a_patient_that_can_not_be_read_is_done_by_the_next_run(
    quick_bundle: Path, tmp_path: Path, number: int, lost: str
) -> None:
    cohort, out = write_patients(tmp_path / "cohort", range(2)), tmp_path / "out"
    for file in list(cohort.rglob("*.dcm")):
        file.rename(file.with_suffix(""))  # nothing but their content says that they are DICOM
    closed = [cohort / "P000"] if lost == "all" else [cohort / "P000" / "001"]

    with unreadable(*closed, number=number):
        first = denoise_cohort(cohort, out, quick_bundle)
    second = denoise_cohort(cohort, out, quick_bundle)

    assert {name: row["state"] for name, row in first.items()} == {"P000": "failed", "P001": "done"}
    assert "can't be read" in first["P000"]["reason"]
    assert {row["state"] for row in second.values()} == {"done"}
    assert len(list((out / "denoised" / "P000").glob("*.dcm"))) == 2


def test_pixels_that_can_not_be_read_once_headers_were(quick_bundle: Path, tmp_path: Path, monkeypatch) -> None:
    cohort, out = write_patients(tmp_path / "cohort", range(2)), tmp_path / "out"

    def fails(descriptor: int, offset: int, words: np.ndarray) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_read_native", fails)
        first = denoise_cohort(cohort, out, quick_bundle)
    second = denoise_cohort(cohort, out, quick_bundle)

    assert {row["state"] for row in first.values()} == {"failed"}
    assert "Input/output error" in first["P000"]["reason"]
    assert {row["state"] for row in second.values()} == {"done"}


def test_a_failed_series_keeps_the_other_of_its_patient_done(quick_bundle: Path, tmp_path: Path, monkeypatch) -> None:
    from ldctpipe.inference import denoise as module

    for uid in ("1.2.3.1", "1.2.3.2"):
        write_series(tmp_path / "cohort" / "P1" / uid, slices=2, uid_root=uid, SeriesInstanceUID=uid)
    read = module.read_volume

    def changed(series, threads):
        if series.uid == "1.2.3.1":
            raise ReadError(series.slices[0].path, "changed while it was read", "run it again")
        return read(series, threads)

    monkeypatch.setattr(module, "read_volume", changed)
    ldctpipe("cohort", "denoise", tmp_path / "cohort", tmp_path / "out", "--model", quick_bundle, "-q")
    ldctpipe("cohort", "manifest", tmp_path / "out", tmp_path / "out")

    rows = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sorted((row["state"], row["reason"]) for row in rows["series"]) == [
        ("done", ""),
        ("failed", "changed while it was read"),
    ]
    assert (rows["counts"]["done"], rows["counts"]["failed"]) == (1, 1)


def test_by_hand_a_lost_slice_is_no_success(quick_bundle: Path, tmp_path: Path, capfd) -> None:
    source = write_series(tmp_path / "in", slices=3)
    command = ("denoise", source, tmp_path / "out", "--model", quick_bundle, "--keep-going", "-q")

    with unreadable(source / "IM002", number=errno.EIO):
        assert ldctpipe(*command) == ExitCode.IO
    said = capfd.readouterr().err
    assert ldctpipe(*command) == ExitCode.DONE

    assert f"{source}/IM002: can't be read (Input/output error), so series may lack slices" in said
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 3


def test_by_hand_a_manifest_lists_what_was_refused(quick_bundle: Path, tmp_path: Path, capfd) -> None:
    scan, out = tmp_path / "scan", tmp_path / "out"
    write_series(scan, slices=2, RescaleIntercept=-3000)  # no tissue is where tissue lies
    command = ("denoise", scan, out, "--model", quick_bundle, "--device", "cpu", "--quiet")

    for more in ((), ("--overwrite",), ()):
        assert ldctpipe(*command, *more) == ExitCode.INPUT
        (row,) = json.loads((out / "manifest.json").read_text())["series"]
        assert row["state"] == "refused" and row["reason"] and not row["files"]
        assert [path.name for path in out.iterdir()] == ["manifest.json"]

    write_series(scan, slices=2)
    assert ldctpipe(*command) == ExitCode.DONE
    assert len(list(out.glob("*.dcm"))) == 2
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_series(scan, slices=2, RescaleIntercept=-3000)
    assert ldctpipe(*command, "--overwrite") == ExitCode.INPUT
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before, "a good result makes no room for none"


def test_nothing_is_sent_that_may_lack_a_slice(quick_bundle: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    from ldctpipe.inference import denoise as module

    source, sent = write_series(tmp_path / "in", slices=3), []
    monkeypatch.setattr(module, "check", lambda url: None)
    monkeypatch.setattr(module, "deliver", lambda manifests, url: sent.append(url))
    command = ("denoise", source, tmp_path / "out", "--model", quick_bundle, "-q", "--push", "https://pacs.invalid")

    with unreadable(source / "IM002", number=errno.EACCES):
        ldctpipe(*command)
    assert sent == []
    ldctpipe(*command)

    assert sent == ["https://pacs.invalid"]


@pytest.mark.parametrize("name", ["scan.zip", "ct.nii.gz"])
def test_archives_and_nifti_that_can_not_be_read(quick_bundle: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "cohort" / name
    source.parent.mkdir()
    if name == "scan.zip":
        with zipfile.ZipFile(source, "w") as archive:
            for file in write_series(tmp_path / "files", slices=2).iterdir():
                archive.write(file, file.name)
    else:
        write_nifti(source)
    write_patients(tmp_path / "cohort", range(1))

    with unreadable(source, number=errno.ESTALE):
        first = denoise_cohort(tmp_path / "cohort", tmp_path / "out", quick_bundle)
    second = denoise_cohort(tmp_path / "cohort", tmp_path / "out", quick_bundle)

    patient = name.partition(".")[0]
    assert {one: row["state"] for one, row in first.items()} == {"P000": "done", patient: "failed"}
    assert {row["state"] for row in second.values()} == {"done"}


def test_training_data_lack_no_slice_by_a_bad_moment(tmp_path: Path) -> None:
    source = write_series(tmp_path / "in", slices=3)

    with unreadable(source / "IM002", number=errno.EIO), pytest.raises(ReadError, match=r"IM002.*may lack slices"):
        load_volumes(source)

    assert [len(volume.hu) for volume in load_volumes(source)] == [3]


@pytest.mark.parametrize("command", ["ingest", "simulate"])
def test_what_is_made_once_lacks_no_slice_for_good(tmp_path: Path, command: str, capfd) -> None:
    source = write_series(tmp_path / "in", slices=3)

    with unreadable(source / "IM002", number=errno.EIO):
        assert ldctpipe(command, source, tmp_path / "out", "-q") == ExitCode.IO

    assert "IM002: can't be read (Input/output error), so series may lack slices" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_patient_s_fault_names_no_none(tmp_path: Path) -> None:
    from ldctpipe.data.patient_scans import PatientScans

    low, full = (write_series(tmp_path / name, slices=3) for name in ("low", "full"))
    for file in low.iterdir():
        image = pydicom.dcmread(file)
        image.ImagePositionPatient = [*image.ImagePositionPatient[:2], image.ImagePositionPatient[2] + 100]
        image.save_as(file)

    with pytest.raises(InputError) as refusal:
        list(PatientScans("P01", "test", low, full).pairs(None, 1))

    assert str(refusal.value).startswith("patient P01: ")
    assert "None" not in str(refusal.value)


def test_every_folder_of_a_cohort_has_a_row(quick_bundle: Path, tmp_path: Path, capfd) -> None:
    cohort = write_patients(tmp_path / "cohort", range(1))
    (cohort / "notes").mkdir()
    (cohort / "notes" / "read me.txt").write_text("of no use")
    (cohort / "nobody").mkdir()
    write_series(cohort / "scout", slices=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], uid_root="1.2.7")

    rows = denoise_cohort(cohort, tmp_path / "out", quick_bundle)

    states = {"P000": "done", "nobody": "nothing to do", "notes": "nothing to do", "scout": "refused"}
    assert {name: row["state"] for name, row in rows.items()} == states
    assert all(row["reason"] for name, row in rows.items() if name != "P000")
    last = capfd.readouterr().out.splitlines()[-1]
    assert last == "1 of 2 series of 2 patients denoised (2 slices), 1 refused, 0 failed, 2 without any scan"


def test_patients_without_a_full_dose_are_denoised_beside_others(quick_bundle: Path, tmp_path: Path) -> None:
    for number, folder in enumerate(("P1/low_dose", "P1/full_dose", "P2/low_dose", "P3")):
        uid = f"1.2.3.{number}"
        write_series(tmp_path / "cohort" / folder, slices=1, uid_root=uid, SeriesInstanceUID=uid)

    rows = denoise_cohort(tmp_path / "cohort", tmp_path / "out", quick_bundle)

    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(("P1", "P2", "P3"), "done")


def test_results_in_the_way_are_no_fault_of_the_scan(quick_bundle: Path, tmp_path: Path) -> None:
    cohort, out = write_patients(tmp_path / "cohort", range(1)), tmp_path / "out"
    (out / "denoised" / "P000").mkdir(parents=True)
    (out / "denoised" / "P000" / "mine.txt").write_text("by hand")

    first = denoise_cohort(cohort, out, quick_bundle)
    (out / "denoised" / "P000" / "mine.txt").unlink()
    second = denoise_cohort(cohort, out, quick_bundle)

    assert (first["P000"]["state"], second["P000"]["state"]) == ("failed", "done")


def folder_with_mask(folder: Path) -> Path:
    for seed, name in enumerate(("a_ct", "c_ct")):
        write_nifti(folder / f"{name}.nii.gz", seed)
    mask = (np.random.default_rng(0).random((64, 64, 2)) > 0.5).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / "b_mask.nii.gz")
    (folder / "b_text.nii").write_text("no volume")
    (folder / "a_ct.json").write_text("{}")
    return folder


def test_a_mask_between_volumes_is_refused_alone(quick_bundle: Path, tmp_path: Path, capfd) -> None:
    source, out = folder_with_mask(tmp_path / "in"), tmp_path / "out"
    command = ("denoise", source, out, "--model", quick_bundle, "--device", "cpu")

    assert ldctpipe(*command) == ExitCode.INPUT
    assert capfd.readouterr().out.splitlines()[-1] == f"{out}: 2 series with 4 slices denoised, 2 refused, 0 failed"
    assert ldctpipe(*command, "--keep-going") == ExitCode.DONE

    states = {}
    for manifest in out.glob("*.manifest.json"):
        (told,) = json.loads(manifest.read_text())["series"]
        states[manifest.name.partition(".")[0]] = (told["state"], bool(told["reason"]))
    assert states == {
        "a_ct": ("denoised", False),
        "b_mask": ("refused", True),
        "b_text": ("refused", True),
        "c_ct": ("denoised", False),
    }


def test_a_volume_that_can_not_be_read_is_tried_again(quick_bundle: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for seed, name in enumerate("abc"):
        write_nifti(source / f"{name}.nii", seed)
    command = ("denoise", source, out, "--model", quick_bundle, "-q")

    with unreadable(source / "b.nii", number=errno.EIO):
        assert ldctpipe(*command) == ExitCode.IO
    assert {path.name for path in out.glob("*.nii")} == {"a.nii", "c.nii"}

    assert ldctpipe(*command) == ExitCode.DONE
    assert {path.name for path in out.glob("*.nii")} == {"a.nii", "b.nii", "c.nii"}


def test_a_file_put_where_a_refused_result_would_go_stays(quick_bundle: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_nifti(source / "a.nii")
    write_nifti(source / "b.nii").write_bytes(b"no volume")
    command = ("denoise", source, out, "--model", quick_bundle, "-q")
    assert ldctpipe(*command) == ExitCode.INPUT
    (out / "b.nii").write_text("mine")
    write_nifti(source / "b.nii", seed=1)

    assert ldctpipe(*command) == ExitCode.IO

    assert (out / "b.nii").read_text() == "mine"
    (out / "b.nii").unlink()
    assert ldctpipe(*command) == ExitCode.DONE


def test_a_mask_beside_dicom_keeps_no_series_back(quick_bundle: Path, tmp_path: Path, capfd) -> None:
    source = write_series(tmp_path / "in", slices=2)
    write_nifti(source / "mask.nii.gz")

    assert ldctpipe("denoise", source, tmp_path / "out", "--model", quick_bundle) == ExitCode.DONE

    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2
    assert "left out: 1 files: a NIfTI file beside DICOM" in capfd.readouterr().out


@pytest.mark.parametrize("link", ["symbolic", "same", "parent"])
def test_overwrite_is_no_remedy_for_an_output_folder_that_is_the_input(
    quick_bundle: Path, tmp_path: Path, capfd, link: str
) -> None:
    source = write_series(tmp_path / "scans" / "in", slices=2)
    out = {"same": source, "parent": source.parent, "symbolic": tmp_path / "out"}[link]
    if link == "symbolic":
        out.symlink_to(source)

    for more in ((), ("--overwrite",)):
        assert ldctpipe("denoise", source, out, "--model", quick_bundle, *more) == ExitCode.USAGE
        said = capfd.readouterr().err
        assert "the results would replace it" in said
        assert "--overwrite" not in said
    assert len(list(source.iterdir())) == 2


@pytest.mark.parametrize("link", ["symbolic", "hard", "same"])
def test_overwrite_is_no_remedy_for_an_output_that_is_the_input(
    quick_bundle: Path, tmp_path: Path, capfd, link: str
) -> None:
    source = write_nifti(tmp_path / "in" / "ct.nii")
    out = source if link == "same" else tmp_path / "out.nii"
    if link == "symbolic":
        out.symlink_to(source)
    if link == "hard":
        out.hardlink_to(source)
    before = source.read_bytes()

    for more in ((), ("--overwrite",)):
        assert ldctpipe("denoise", source, out, "--model", quick_bundle, *more) == ExitCode.USAGE
        said = capfd.readouterr().err
        assert "is the input itself" in said
        assert "--overwrite" not in said
    assert source.read_bytes() == before


def test_results_inside_the_cohort_are_no_patient(quick_bundle: Path, tmp_path: Path) -> None:
    cohort = write_patients(tmp_path / "cohort", range(2))

    for _ in range(2):
        rows = denoise_cohort(cohort, cohort / "results", quick_bundle)

        assert {name: row["state"] for name, row in rows.items()} == {"P000": "done", "P001": "done"}


@pytest.mark.parametrize("closed", ["P001", "P001/series"])
def test_a_folder_that_can_not_be_listed_has_a_row_in_the_sheet(tmp_path: Path, closed: str) -> None:
    cohort = write_patients(tmp_path / "cohort", range(1))
    write_series(cohort / "P001" / "series", slices=1)
    (cohort / "list.xlsx").write_text("who is who")

    with unreadable(cohort / closed, cohort / "list.xlsx", number=errno.EACCES):
        rows = rows_of_cohort(cohort)

    assert [row.patient for row in rows] == ["P000", "P001"]
