"""Zip archives: what a colleague mails, and what nobody should."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_dicom import body, ct_dataset, write_ct, write_series

from ldctpipe.dicom import archives
from ldctpipe.dicom.archives import is_zip, unpacked
from ldctpipe.dicom.discovery import discover
from ldctpipe.errors import InputError


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


def contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.iterdir())


def temporary_folders() -> set[Path]:
    return set(Path(archives.tempfile.gettempdir()).glob("ldctpipe-zip-*"))


def refusal(archive: Path) -> str:
    """The sentence that refuses `archive`, after which nothing of it is left on the disk."""
    before = temporary_folders()
    with pytest.raises(InputError) as refused:
        unpacked(archive)
    assert refused.value.path == archive and temporary_folders() == before
    return str(refused.value)


def test_a_series_in_a_zip_is_the_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", slices=4)
    archive = zipped(tmp_path / "mail.zip", {f"a/b/{path.name}": path.read_bytes() for path in folder.iterdir()})
    (inside,), (beside,) = discover(archive).series, discover(folder).series
    assert [each.sop_uid for each in inside.slices] == [each.sop_uid for each in beside.slices]


def test_a_zip_is_known_by_its_content(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "export", {"x": b"1"})
    assert is_zip(archive) and is_zip(zipped(tmp_path / "empty", {}))
    (tmp_path / "text.zip").write_text("no archive")
    assert not is_zip(tmp_path / "text.zip") and not is_zip(tmp_path) and not is_zip(tmp_path / "none")


def test_an_image_whose_preamble_starts_as_a_zip_is_an_image(tmp_path: Path) -> None:
    image = write_ct(tmp_path / "image", body())
    image.write_bytes(b"PK\x03\x04" + image.read_bytes()[4:])
    assert not is_zip(image)


def test_names_inside_lead_nowhere(tmp_path: Path) -> None:
    names = [
        "/etc/x.dcm",
        "../../y.dcm",
        "..\\..\\z.ima",
        "C:\\w.dcm",
        "a/../../v",
        "same.dcm",
        "x\0.dcm",
        "n\u0308\u202e",
    ]
    archive = zipped(tmp_path / "x.zip", {name: name.encode() for name in names})
    before = set(tmp_path.parent.rglob("*"))
    folder = unpacked(archive)
    assert len(contents(folder)) == len(names)
    assert {path.parent for path in folder.rglob("*")} == {folder}
    assert {path.suffix for path in folder.iterdir()} == {".dcm", ".ima", ""}
    assert set(tmp_path.parent.rglob("*")) == before


def test_two_files_of_one_name_both_come_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("IM1", b"first")
        archive.writestr("IM1", b"second")
    assert contents(unpacked(tmp_path / "x.zip")) == [b"first", b"second"]


def test_names_in_another_encoding_are_no_matter(tmp_path: Path) -> None:
    zipped(tmp_path / "x.zip", {"MXXXXller.dcm": b"1"})
    content = (tmp_path / "x.zip").read_bytes().replace(b"MXXXXller", b"M\xfc\xff\xfe\x80ller")
    (tmp_path / "x.zip").write_bytes(content)
    assert contents(unpacked(tmp_path / "x.zip")) == [b"1"]


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    files = {".DS_Store": b"1", "__MACOSX/._IM1": b"2", "a/.git/x": b"3", "a\\.b\\x": b"4", "a/IM1": b"5"}
    assert contents(unpacked(zipped(tmp_path / "x.zip", files))) == [b"5"]


def test_archives_in_archives_are_unpacked_to_a_depth(tmp_path: Path) -> None:
    inner = b"image"
    for depth in range(1, 5):
        archive = zipped(tmp_path / f"{depth}.zip", {"inner": inner, "note": b"text"})
        inner = archive.read_bytes()
        if depth <= 3:
            assert contents(unpacked(archive)) == [b"image", *[b"text"] * depth]
        else:
            assert "too deep" in refusal(archive)


def test_a_dicomdir_in_a_zip_does_no_harm(tmp_path: Path) -> None:
    from pydicom.fileset import FileSet

    files = FileSet()
    for index in range(3):
        study = {"StudyID": "1", "StudyDate": "20200102", "StudyTime": "101010"}
        files.add(ct_dataset(body(index), 3.0 * index, InstanceNumber=index + 1, **study))
    files.write(tmp_path / "cd")
    shutil.make_archive(str(tmp_path / "cd"), "zip", tmp_path / "cd")
    found = discover(tmp_path / "cd.zip")
    assert [len(series.slices) for series in found.series] == [3]
    assert not found.skipped


def test_a_locked_archive_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"Doe^Jane.dcm": b"1"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # general purpose flag of the file …
    content[content.index(b"PK\x01\x02") + 8] |= 1  # … and of its entry in the directory
    archive.write_bytes(content)
    assert "password" in refusal(archive) and "Doe" not in refusal(archive)


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "x.zip", {f"Doe^Jane/{index}": bytes(500) for index in range(5)}).read_bytes()
    for length in range(4, len(whole), 41):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        sentence = refusal(tmp_path / "cut.zip")
        assert "cut short" in sentence and "Doe" not in sentence


def test_damage_inside_is_refused_without_a_name_from_inside(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"Doe^Jane.dcm": b"image" * 100}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"imageimage", b"imageimagf", 1))
    sentence = refusal(archive)
    assert "damaged" in sentence and "Doe" not in sentence


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_RATIO_MATTERS_FROM_BYTES", 1 << 20)
    blank = zipped(tmp_path / "blank.zip", {"x": bytes(1 << 20)})
    assert len(contents(unpacked(blank))[0]) == 1 << 20
    assert "far more than CT" in refusal(zipped(tmp_path / "bomb.zip", {"x": bytes(2 << 20)}))
    layers = {str(index): blank.read_bytes() for index in range(3)}
    assert "far more than CT" in refusal(zipped(tmp_path / "nested.zip", layers))


def test_a_bomb_that_declares_a_small_size_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"x": bytes(1 << 20)})
    content = archive.read_bytes().replace(struct.pack("<L", 1 << 20), struct.pack("<L", 100))
    archive.write_bytes(content)
    assert "damaged" in refusal(archive)


def test_more_files_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_FILES", 5)
    five = {f"{number}.dcm": b"1" for number in range(5)}
    assert len(contents(unpacked(zipped(tmp_path / "few.zip", five)))) == 5
    inside = zipped(tmp_path / "inside.zip", five).read_bytes()
    assert "contains more than 5 files" in refusal(zipped(tmp_path / "nested.zip", {"a.zip": inside}))


def test_an_archive_larger_than_the_free_space_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "x.zip", {"x": bytes(1000)})
    usage = shutil.disk_usage(tmp_path)._replace(free=(64 << 20) + 999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert "more space" in refusal(archive)


def test_unknown_methods_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"Doe^Jane": b"1"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = content[8] = 9  # Deflate64
    archive.write_bytes(content)
    assert "unknown way" in refusal(archive) and "Doe" not in refusal(archive)


def test_seeded_damage_ends_in_files_or_a_sentence(tmp_path: Path) -> None:
    import random

    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM1", bytes(range(256)) * 4)
    whole = zipped(tmp_path / "x.zip", {"a/IM1": b"image" * 50, "b.zip": inner.getvalue()}).read_bytes()
    chance = random.Random(7)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(4, len(damaged))] = chance.randrange(256)
        (tmp_path / "damaged.zip").write_bytes(damaged)
        try:
            folder = unpacked(tmp_path / "damaged.zip")
            shutil.rmtree(folder)
        except InputError:
            continue


def test_what_a_killed_process_unpacked_goes_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    archive = zipped(tmp_path / "x.zip", {"IM1": b"image"})
    program = (
        "import os, signal, sys; from pathlib import Path; from ldctpipe.dicom.archives import unpacked;"
        "print(unpacked(Path(sys.argv[1])), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, archive], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert left.parent == tmp_path and contents(left) == [b"image"]
    monkeypatch.setattr(archives.tempfile, "tempdir", str(tmp_path))

    first = unpacked(archive)
    second = unpacked(archive)

    assert not left.exists() and first.exists() and second.exists()


def test_an_end_that_points_before_the_start_is_damage(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "mail.zip", {"a.dcm": b"x"})
    content = bytearray(archive.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 8 : end + 12] = content[end + 16 : end + 20] = b"\xff" * 4
    archive.write_bytes(content)

    assert "damaged" in refusal(archive)
