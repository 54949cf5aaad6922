"""A mark in every attribute that can identify a patient (PS3.15 table E.1-1): no command lets one out of the DICOM."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from every_command import left_behind, run_every_command, write_cohort
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag

_TEXT_VRS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
# What these commands need to know of an image, or name in their results on purpose: how it was made, not of whom.
_NEEDED = {
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "MediaStorageSOPInstanceUID",
    "SeriesDescription",
}


def marks() -> dict[str, str]:
    """Return a mark that appears nowhere else for each identifying attribute that holds text, a date or a UID."""
    found = {}
    for number, tag in enumerate(dicomfields_2026c.ALL_TAGS):
        if len(tag) != 2 or not dictionary_has_tag(tag) or not keyword_for_tag(tag) or tag[0] < 8:
            continue
        if keyword_for_tag(tag) in _NEEDED:
            continue
        vr = dictionary_VR(tag)
        if vr in _TEXT_VRS:
            found[keyword_for_tag(tag)] = f"QXJZ{number:04d}W"
        elif vr in ("DA", "DT"):
            found[keyword_for_tag(tag)] = f"17{number // 28 % 100:02d}{number // 280 + 10:02d}{number % 28 + 1:02d}"
        elif vr == "UI":
            found[keyword_for_tag(tag)] = f"1.2.826.0.1.77077.{number}"
    return found


@pytest.mark.timeout(300)
def test_no_mark_of_a_patient_leaves_the_dicom(
    tmp_path: Path, tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    known = marks()

    def mark(image: pydicom.FileDataset, _number: int) -> None:
        for keyword, value in known.items():
            setattr(image, keyword, value if dictionary_VM(keyword) == "1" else [value])
        image.private_block(0x0029, "QXJZMAKER", create=True).add_new(0x10, "LO", "QXJZPRIVATE")

    (tmp_path / "out").mkdir()
    cohort = write_cohort(tmp_path / "in", mark)
    uids = [element.value for element in pydicom.dcmread(cohort / "P1" / "low_dose" / "0.dcm") if element.VR == "UI"]

    run_every_command(cohort, tiny_bundle, tmp_path / "out")

    said = capfd.readouterr()
    seen = {"stdout": said.out.encode(), "stderr": said.err.encode()}
    seen |= {left.name: left.name.encode() + b"\n" + left.content for left in left_behind(tmp_path / "out")}
    wanted = {*known.values(), "QXJZ", *(uid for uid in uids if not uid.startswith("1.2.840"))}
    leaks = {(place, value) for place, content in seen.items() for value in wanted if value.encode() in content}
    assert len(known) > 400
    assert len(seen) > 15
    assert not leaks
