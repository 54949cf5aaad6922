"""The whole loop with a real Orthanc: source in, fetch, derive, push, both in one study, fetch back unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from brighter import derive
from orthanc import Orthanc
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from small_dicom import PATIENT_ID, PATIENT_NAME, STUDY_UID, body, ct_dataset, write_series

from ldctpipe.cli.app import run
from ldctpipe.dicom import dicomweb, pacs
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.pacs import PacsError, check, push


def by_uid(paths: list[Path]) -> dict[str, pydicom.Dataset]:
    images = [pydicom.dcmread(path) for path in paths]
    return {image.SOPInstanceUID: image for image in images}


def assert_same_images(paths: list[Path], others: list[Path]) -> None:
    images, back = by_uid(paths), by_uid(others)
    assert images.keys() == back.keys()
    for uid, image in images.items():
        assert back[uid] == image
        assert back[uid].PixelData == image.PixelData
        assert back[uid].file_meta.TransferSyntaxUID == image.file_meta.TransferSyntaxUID


def compressed_series(folder: Path) -> Path:
    """Write three images, each in a compressed transfer syntax of its own."""
    folder.mkdir()
    for number, syntax in enumerate((RLELossless, JPEGLSLossless, JPEG2000Lossless)):
        image = ct_dataset(body(number), z_mm=number * 3.0, InstanceNumber=number + 1)
        image.compress(syntax, generate_instance_uid=False)
        pydicom.dcmwrite(folder / f"{number}.dcm", image, enforce_file_format=True)
    return folder


@pytest.mark.parametrize("kind", ["philips", "compressed"])
def test_the_derived_series_comes_back_unchanged_in_the_study_of_its_source(
    orthanc: Orthanc, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    if kind == "philips":
        source = request.getfixturevalue("real_data") / "phantom_philips_5mm"
    else:
        source = compressed_series(tmp_path / "source")
    (series,) = discover(source).series
    for image in series.slices:
        orthanc.store(image.path)
    fetched = orthanc.fetch(series.study_uid, series.uid, tmp_path / "fetched")
    assert_same_images([image.path for image in series.slices], fetched)
    derived = derive(tmp_path / "fetched", tmp_path / "derived")
    sent: list[int] = []

    push(derived, orthanc.url, on_sent=sent.append)

    new_uid = str(pydicom.dcmread(derived[0]).SeriesInstanceUID)
    assert sum(sent) == len(derived) == len(series.slices)
    assert orthanc.series_of(series.study_uid) == {series.uid: len(derived), new_uid: len(derived)}
    assert_same_images(derived, orthanc.fetch(series.study_uid, new_uid, tmp_path / "back"))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
def test_compressed_images_of_ours_arrive_to_the_byte(
    orthanc: Orthanc, ours: list[Path], tmp_path: Path, syntax: pydicom.uid.UID
) -> None:
    for path in ours:
        image = pydicom.dcmread(path)
        image.compress(syntax, generate_instance_uid=False)
        pydicom.dcmwrite(path, image, enforce_file_format=True)

    push(ours, orthanc.url, on_sent=lambda _: None)

    new_uid = str(pydicom.dcmread(ours[0]).SeriesInstanceUID)
    back = orthanc.fetch(STUDY_UID, new_uid, tmp_path / "back")
    assert_same_images(ours, back)


def test_batches_keep_their_bounds_and_pushing_twice_is_pushing_once(
    orthanc: Orthanc, ours: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_count: list[int] = []
    by_size: list[int] = []
    monkeypatch.setattr(pacs, "_BATCH_FILES", 4)
    push(ours, orthanc.url, on_sent=by_count.append)
    monkeypatch.setattr(pacs, "_BATCH_BYTES", 2 * ours[0].stat().st_size + 100)

    push(ours, f"{orthanc.url}/", on_sent=by_size.append)

    assert by_count == [4, 2]
    assert by_size == [2, 2, 2]
    assert list(orthanc.series_of(STUDY_UID).values()) == [6]


def test_an_image_larger_than_a_batch_goes_alone(
    orthanc: Orthanc, ours: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacs, "_BATCH_BYTES", 1)
    sent: list[int] = []

    push(ours, orthanc.url, on_sent=sent.append)

    assert sent == [1] * 6


@pytest.mark.parametrize("way", ["environment", "url", "netrc"])
def test_a_password_opens_the_archive_and_shows_nowhere(
    orthanc_of: Callable[..., Orthanc],
    ours: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    way: str,
) -> None:
    secret = "s3cret@ü"
    orthanc = orthanc_of(users={"anna": secret})
    url = orthanc.url
    with pytest.raises(PacsError, match=r"wants credentials that it knows \(401\); set LDCTPIPE_PACS_USER"):
        check(url)
    if way == "environment":
        monkeypatch.setenv(dicomweb.USER, "anna")
        monkeypatch.setenv(dicomweb.PASSWORD, secret)
    elif way == "url":
        url = url.replace("//", "//anna:s3cret%40%C3%BC@")
    else:
        orthanc.kill()
        orthanc.users["anna"] = secret = "s3cret"
        orthanc.start()
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login anna password {secret}\n")

    check(url)
    push(ours, url, on_sent=print)

    assert list(orthanc.series_of(STUDY_UID).values()) == [6]
    monkeypatch.setenv(dicomweb.PASSWORD, "s3cret-but-wrong")
    with pytest.raises(PacsError, match="401") as caught:
        push(ours, orthanc.url.replace("//", "//anna:s3cret-but-wrong@"), on_sent=print)
    shown = "".join(capfd.readouterr()) + str(caught.value)
    assert "s3cret" not in shown and "anna" not in shown


def test_images_that_are_not_ours_stay_here(orthanc: Orthanc, tmp_path: Path) -> None:
    source = sorted(write_series(tmp_path / "source").iterdir())

    with pytest.raises(pacs.InputError, match="was not written by ldctpipe"):
        push(source, orthanc.url, on_sent=print)

    assert orthanc.series_of(STUDY_UID) == {}


def test_denoise_pushes_what_it_writes_and_names_nobody(
    orthanc: Orthanc, tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_series(tmp_path / "source")
    for path in source.iterdir():
        orthanc.store(path)
    command = ["denoise", str(source), str(tmp_path / "out"), "--model", str(tiny_bundle), "--device", "cpu"]

    assert run([*command, "--push", orthanc.url]) == 0

    written = sorted((tmp_path / "out").glob("*.dcm"))
    new_uid = str(pydicom.dcmread(written[0]).SeriesInstanceUID)
    assert len(orthanc.series_of(STUDY_UID)) == 2
    assert_same_images(written, orthanc.fetch(STUDY_UID, new_uid, tmp_path / "back"))
    shown = "".join(capfd.readouterr())
    assert not [secret for secret in (PATIENT_ID, PATIENT_NAME, STUDY_UID, new_uid, "1970") if secret in shown]

    assert run([*command, "--push", orthanc.url]) == 0, "again, where all is done and stored"
    assert len(orthanc.series_of(STUDY_UID)) == 2


def test_denoise_keeps_its_output_where_the_archive_is_gone_and_sends_it_the_next_time(
    orthanc: Orthanc, tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    source = write_series(tmp_path / "source")
    command = ["denoise", str(source), str(tmp_path / "out"), "--model", str(tiny_bundle), "--device", "cpu"]
    assert run(command) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    orthanc.kill()

    assert run([*command, "--push", orthanc.url]) == 74
    assert "can't be reached" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

    orthanc.start()
    assert run([*command, "--push", orthanc.url]) == 0
    assert list(orthanc.series_of(STUDY_UID).values()) == [3]
