"""A file that ends early, at every place that matters: left out with a reason, or read as the whole file is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus import encoded, synthetic_series
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from small_dicom import body, ct_dataset

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError

_STEP_BYTES = 4096
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]


def outcomes(folder: Path, whole: bytes, lengths: list[int]) -> dict[int, np.ndarray | str]:
    """Write `whole` cut to each of `lengths`, and return for each the HU read, or the reason that it was left out for.

    One folder for all: each cut file takes the position of the same slice, so the whole one must come from elsewhere.
    """
    found: dict[int, np.ndarray | str] = {}
    path = folder / "cut.dcm"
    for length in lengths:
        path.write_bytes(whole[:length])
        try:
            (series,) = discover(path, threads=1).series
            found[length] = read_volume(series, threads=1).hu[0]
        except InputError as refusal:
            assert refusal.path == path or str(refusal.path).startswith("series"), refusal
            found[length] = refusal.fault
    return found


def check(found: dict[int, np.ndarray | str], whole_hu: np.ndarray, pixels_end: int) -> None:
    """Hold all cuts before `pixels_end` to a refusal and all later ones to the HU of the whole file."""
    for length, outcome in found.items():
        if isinstance(outcome, str):
            assert length < pixels_end, f"refused at {length}, after the pixels: {outcome}"
            assert any(word in outcome for word in ("cut short", "damaged", "not a DICOM file", "no object class")), (
                outcome
            )
        else:
            assert length >= pixels_end, f"used at {length} of {pixels_end} bytes"
            np.testing.assert_array_equal(outcome, whole_hu)


@pytest.mark.parametrize("name", ["body/A002304/19001231-076.dcm", "phantom_philips_5mm/S2010_I140"])
def test_a_real_file_cut_at_every_4_kib(tmp_path: Path, real_data: Path, name: str) -> None:
    whole = (real_data / name).read_bytes()
    cuts = [*range(0, len(whole), _STEP_BYTES), len(whole) - 2, len(whole) - 1, len(whole)]

    found = outcomes(tmp_path, whole, cuts)

    assert isinstance(found[len(whole)], np.ndarray)
    pixels_end = pixels_end_of(whole)
    check(found, found[len(whole)], pixels_end)


def pixels_end_of(whole: bytes) -> int:
    """Where native pixel data in explicit or implicit little endian end (PS3.5 §7.1), found from their tag."""
    at = whole.rindex(b"\xe0\x7f\x10\x00")
    is_explicit = whole[at + 4 : at + 6] in (b"OW", b"OB")
    value_at = at + (12 if is_explicit else 8)
    return value_at + int.from_bytes(whole[value_at - 4 : value_at], "little")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name.replace(" ", ""))
def test_a_small_file_cut_at_every_byte_of_its_header_and_end(tmp_path: Path, syntax) -> None:
    (whole,) = synthetic_series(syntax, 1, slices=1).files
    cuts = [*range(min(2048, len(whole))), *range(2048, len(whole), 97), *range(len(whole) - 12, len(whole) + 1)]
    expected = body(0, (36, 40)).astype(int) - 1024

    found = outcomes(tmp_path, whole, cuts)

    np.testing.assert_array_equal(found[len(whole)], expected)
    # A compressed image is all there without the delimiter of its sequence: either answer is right for those 8 bytes.
    is_encapsulated = syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless)
    used = [length for length, outcome in found.items() if isinstance(outcome, np.ndarray)]
    check(found, expected, min(used) if is_encapsulated and min(used) >= len(whole) - 9 else len(whole))


@pytest.mark.parametrize("behind", [b"", b"\xfc\xff\xfc\xffOB\0\0\x0a\0\0\0" + b"\0" * 10])
def test_what_lies_behind_the_pixels_may_be_lost(tmp_path: Path, behind: bytes) -> None:
    image = encoded(ct_dataset(body(0, (36, 40))))
    whole = image + behind

    found = outcomes(tmp_path, whole, list(range(len(image) - 3, len(whole) + 1)))

    check(found, body(0, (36, 40)).astype(int) - 1024, len(image))


def test_cuts_of_one_series_leave_the_rest_of_it(tmp_path: Path) -> None:
    whole = synthetic_series(ExplicitVRLittleEndian, 1, slices=40).files
    for number, content in enumerate(whole):
        share = number / 40 if number % 2 else 1
        (tmp_path / f"{number:02d}.dcm").write_bytes(content[: int(len(content) * share)])

    found = discover(tmp_path)

    (series,) = found.series
    assert sorted(image.path.name for image in series.slices) == [f"{number:02d}.dcm" for number in range(0, 40, 2)]
    assert sorted(skip.path.name for skip in found.skipped) == [f"{number:02d}.dcm" for number in range(1, 40, 2)]
    assert all(skip.is_fault for skip in found.skipped)
