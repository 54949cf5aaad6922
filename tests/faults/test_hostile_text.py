"""Paths, markup and terminal codes in every text of an image: nothing outside the output changes, nothing runs."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from every_command import left_behind, run_every_command, write_cohort
from pydicom.datadict import DicomDictionary

_TEXT_VRS = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "CS", "UI"}
# An image with other values here is refused, which tests/faults/test_bad_tags.py has.
_DECISIVE = {"SOPClassUID", "Modality", "PhotometricInterpretation", "RescaleType", "SpecificCharacterSet", "ImageType"}
_OF_EACH_IMAGE = {"SOPInstanceUID", "SeriesInstanceUID"}
PAYLOADS = {
    "path": "../../x",
    "absolute": "/tmp/ldctpipe-hostile/x",
    "markup": "<script>alert(1)</script>",
    "closing": "</script><img src=x onerror=alert(1)>",
    "terminal": "\x1b[2J\x1b]0;x\x07\x9b",
    "formula": "=cmd|' /C calc'!A0",
    "lines": "a\r\nldctpipe: b\x0bc\x85d",
}


def text_keywords() -> list[str]:
    """Return every attribute of a dataset that the standard types as text, but those that decide about the image."""
    return sorted(
        keyword
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
        if vr in _TEXT_VRS and keyword and tag >> 16 > 2 and keyword not in _DECISIVE
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::pydicom")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PAYLOADS)
def test_text_of_an_image_is_text(
    tmp_path: Path, tiny_bundle: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    payload = PAYLOADS[name]

    def poison(image: pydicom.FileDataset, number: int) -> None:
        for keyword in text_keywords():
            own = f".{number}" if keyword == "SOPInstanceUID" else f".{number // 10}"
            setattr(image, keyword, payload + (own if keyword in _OF_EACH_IMAGE else ""))
        image.ImageType = ["ORIGINAL", "PRIMARY", payload]
        image.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    home = tmp_path / "a" / "b" / "c"
    (home / "out").mkdir(parents=True)
    cohort = write_cohort(home / "in", poison)
    before = everything_but(tmp_path, home / "out")

    run_every_command(cohort, tiny_bundle, home / "out")

    assert everything_but(tmp_path, home / "out") == before
    assert not Path("/tmp/ldctpipe-hostile").exists()
    said = capfd.readouterr()
    assert all(character.isprintable() or character in "\n\r\t" for character in said.out), "control codes on stdout"
    assert not any(
        code in said.out + said.err for code in ("\x1b[2J", "\x1b]0", "\x9b", "\x0b", "\x85", "\nldctpipe: b")
    )
    pages = [left for left in left_behind(home / "out") if left.name.endswith(".html")]
    assert pages
    for page in pages:
        assert b"<script>alert" not in page.content
        assert b"<img src=x" not in page.content
    assert all(".." not in left.name and "<" not in left.name for left in left_behind(home / "out"))


def everything_but(root: Path, out: Path) -> dict[str, bytes]:
    """Return all files below `root` that are not in `out`, with their content."""
    files = (path for path in root.rglob("*") if path.is_file() and out not in path.parents)
    return {str(path): path.read_bytes() for path in files}
