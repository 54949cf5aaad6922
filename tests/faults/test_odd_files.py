"""What else lies in folders: pipes, sockets, devices, links to nowhere, files that vanish, names of any bytes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_dicom import body, write_ct, write_series

from ldctpipe.data.ingestion import ingest
from ldctpipe.dicom.discovery import Discovery, discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import ExitCode, InputError

pytestmark = pytest.mark.timeout(120)
ODD_NAMES = [
    b"line\nbreak.dcm",
    "\U0001f480 ä.dcm".encode(),
    b"\xff\xfe\x80.dcm",
    b"a" * 250 + b".dcm",
    b"-rf.dcm",
    b"--help",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a sound series of two slices."""
    return write_series(tmp_path / "in", slices=2)


def skipped(found: Discovery) -> dict[str, str]:
    """Reasons by file name, of a discovery whose one sound series is whole."""
    assert [len(series.slices) for series in found.series] == [2]
    return {skip.path.name: skip.reason for skip in found.skipped}


@pytest.mark.parametrize("name", ["a.dcm", "a.IMA", "a.dicom"])
@pytest.mark.parametrize("content", [b"", b"\0", b"D", b"\0" * 128, b"\0" * 128 + b"DIC", b"\0" * 128 + b"DICM"])
def test_files_with_next_to_nothing_in_them(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)

    (reason,) = skipped(discover(folder)).values()

    assert reason


def test_a_folder_called_dcm_is_a_folder(folder: Path) -> None:
    write_series(folder / "x.dcm", slices=3, uid_root="1.2.5", SeriesInstanceUID="1.2.5")

    assert sorted(len(series.slices) for series in discover(folder).series) == [2, 3]


def test_pipes_sockets_and_devices_are_not_opened(folder: Path) -> None:
    """They hold no images whatever their names, and reading one could wait for ever or never end."""
    os.mkfifo(folder / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as ear:
        place = Path.cwd()
        os.chdir(folder)  # the path of a socket must be short
        try:
            ear.bind("socket.dcm")
        finally:
            os.chdir(place)
        (folder / "device.dcm").symlink_to("/dev/zero")

        assert skipped(discover(folder)) == {}


def test_links_in_circles_and_to_nowhere_are_named(folder: Path) -> None:
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "nowhere.dcm").symlink_to(folder / "gone")
    (folder / "up").symlink_to("..", target_is_directory=True)

    found = skipped(discover(folder))

    assert set(found) == {"circle", "nowhere.dcm"}
    assert all("can't be read" in reason for reason in found.values())


def test_a_link_to_an_image_is_a_copy_of_it(folder: Path) -> None:
    (folder / "again").symlink_to(folder / "IM001")

    assert skipped(discover(folder)) == {"again": "a second copy of a slice"}


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who is not root, for whom permissions hold; skips where that can't be had."""
    if os.geteuid() != 0:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not here, and root may read everything")
    switch = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*switch, sys.executable, "-c", "import ldctpipe"], capture_output=True, check=False).returncode:
        pytest.skip("another user can't run this Python")
    return subprocess.run([*switch, *command], capture_output=True, text=True, check=False)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter; those of pytest belong to one."""
    with tempfile.TemporaryDirectory(prefix="ldctpipe-faults-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_may_not_be_read_is_named(public_folder: Path) -> None:
    folder = write_series(public_folder / "in", slices=2)
    shutil.copy(folder / "IM001", folder / "secret.dcm")
    (folder / "secret.dcm").chmod(0)
    write_series(folder / "closed", slices=1, uid_root="1.2.6")
    (folder / "closed").chmod(0)

    done = as_nobody(sys.executable, "-m", "ldctpipe.cli.app", "inspect", str(folder))
    (folder / "closed").chmod(0o755)

    assert done.returncode == ExitCode.DONE, done.stderr
    assert "Traceback" not in done.stderr
    reasons = [line for line in done.stdout.splitlines() if "Permission denied" in line]
    assert sum(int(reason.split("×")[0].split()[-1]) for reason in reasons) == 2, done.stdout


def test_a_file_that_vanishes_between_finding_and_reading(folder: Path) -> None:
    (series,) = discover(folder).series
    series.slices[1].path.unlink()

    with pytest.raises(InputError, match=r"IM00\d.*No such file") as refusal:
        read_volume(series)

    assert refusal.value.path == series.slices[1].path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"SOPInstanceUID": "1.2.3.4"}, "changed"),
        ({"RescaleSlope": 2}, "changed"),
        ({"RescaleIntercept": 0}, "changed"),
        ({"BitsStored": 12, "HighBit": 11}, "changed"),
        ({"PixelRepresentation": 1}, "changed"),
        ({"ImagePositionPatient": [0, 0, 50]}, "changed"),
    ],
)
def test_a_file_that_changes_between_finding_and_reading(folder: Path, change: dict, says: str) -> None:
    (series,) = discover(folder).series
    place = series.slices[1]
    kept = {"SOPInstanceUID": place.sop_uid, "InstanceNumber": 1}
    write_ct(place.path, body(1), place.position_mm, **{**kept, **change})

    with pytest.raises(InputError, match=says):
        read_volume(series)


def test_a_file_that_shrinks_between_finding_and_reading(folder: Path) -> None:
    (series,) = discover(folder).series
    path = series.slices[0].path
    path.write_bytes(path.read_bytes()[:-500])

    with pytest.raises(InputError, match=r"cut short|changed|damaged"):
        read_volume(series)


def test_names_of_any_bytes(tmp_path: Path) -> None:
    write_series(tmp_path / "in", slices=2 * len(ODD_NAMES))
    images = sorted((tmp_path / "in").iterdir())
    for name, sound, damaged in zip(ODD_NAMES, images[::2], images[1::2], strict=True):
        folder = os.fsencode(tmp_path / "in")
        os.rename(sound, os.path.join(folder, name))  # noqa: PTH104, PTH118 - a path has no bytes that are no text
        damaged.write_bytes(damaged.read_bytes()[:700])
        os.rename(damaged, os.path.join(folder, b"cut " + name[:200] + b".dcm"))  # noqa: PTH104, PTH118
    command = [sys.executable, "-m", "ldctpipe.cli.app"]

    table = subprocess.run([*command, "inspect", tmp_path / "in"], capture_output=True, check=False)
    done = subprocess.run([*command, "ingest", tmp_path / "in", tmp_path / "out"], capture_output=True, check=False)

    assert (table.returncode, done.returncode) == (ExitCode.DONE, ExitCode.DONE), table.stderr + done.stderr
    assert b"Traceback" not in table.stderr + done.stderr
    assert f"{len(ODD_NAMES)} × cut short".encode() in table.stdout
    (series,) = discover(tmp_path / "in").series
    assert len(series.slices) == len(ODD_NAMES)
    assert (tmp_path / "out" / series.key / "volume.nii").is_file()


def test_a_refusal_of_an_odd_name_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.dcm"
    path.write_bytes(b"nothing")
    command = [sys.executable, "-m", "ldctpipe.cli.app", "inspect", str(path)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == ExitCode.INPUT
    assert len(done.stderr.splitlines()) == 1


def test_hard_to_reach_folders_are_ingested_like_others(tmp_path: Path) -> None:
    deep = tmp_path / "in"
    for _ in range(40):
        deep = deep / ("d" * 40)
    write_series(deep, slices=2)

    done = ingest(tmp_path / "in", tmp_path / "out")

    assert len(done.cases) == 1
    np.testing.assert_array_equal(read_volume(discover(tmp_path / "in").series[0]).hu[0], body(0).astype(int) - 1024)


@pytest.mark.parametrize("name", [b"\xff\xfe\x80", "\U0001f480 \u202eä two\nlines\x1b[2J".encode()])
def test_folders_of_any_name(tmp_path: Path, name: bytes) -> None:
    root = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - a path has no bytes that are no text
    os.mkdir(root)  # noqa: PTH102
    write_series(Path(os.fsdecode(root)) / "P1", slices=2)
    (Path(os.fsdecode(root)) / "P1" / "cut.dcm").write_bytes(b"nothing")
    command = [sys.executable, "-m", "ldctpipe.cli.app"]

    sheet_code = ExitCode.INPUT if name == b"\xff\xfe\x80" else ExitCode.DONE  # a CSV file is text
    for code, *arguments in (
        (ExitCode.DONE, "inspect", root),
        (sheet_code, "samplesheet", root, root + b"/sheet.csv"),
        (ExitCode.DONE, "ingest", root, root + b"/cases"),
        (ExitCode.INPUT, "inspect", root + b"/P1/cut.dcm"),
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
        assert not any(code in done.stderr for code in (b"\x1b", b"two\nlines"))
