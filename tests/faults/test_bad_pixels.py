"""Pixel data that are not what the header says: refused for that file, read right where they can be, never a crash."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import encoded, synthetic_series
from mutations import parts_of, with_attribute, with_syntax
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from small_dicom import body, ct_dataset, write_series

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import ExitCode, InputError

SHAPE = (36, 40)
HU = body(0, SHAPE).astype(int) - 1024
PIXELS = 0x7FE00010
FEW_THREADS = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each maps memory of its own
COMPRESSED = [RLELossless, JPEGLSLossless, JPEG2000Lossless]


def native() -> bytes:
    return encoded(ct_dataset(body(0, SHAPE)))


def outcome(folder: Path, content: bytes) -> np.ndarray | str:
    """Return the HU of a single file, or why it is refused."""
    folder.mkdir(exist_ok=True)
    (folder / "image.dcm").write_bytes(content)
    try:
        (series,) = discover(folder / "image.dcm").series
        return read_volume(series).hu[0]
    except InputError as refusal:
        assert str(refusal).isprintable()
        return refusal.fault


def with_length(content: bytes, length: int) -> bytes:
    """Return `content` with another length told for its pixel data."""
    parts = parts_of(content)
    *rest, pixels = parts.elements
    return replace(parts, elements=(*rest, pixels[:8] + struct.pack("<L", length) + pixels[12:])).joined()


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (2 * 36 * 40 - 1, ""),
        (2 * 36 * 40 - 2, ""),
        (2 * 36 * 40 + 1, "cut short"),
        (2 * 36 * 40 + 2, "cut short"),
        (0, ""),
        (1, ""),
        (0x7FFFFFFF, "cut short"),
        (0xFFFFFFFE, "cut short"),
        (0xFFFFFFFF, "cut short"),
    ],
)
def test_a_length_that_lies_about_native_pixels(tmp_path: Path, told: int, reason: str) -> None:
    refusal = outcome(tmp_path, with_length(native(), told))

    assert isinstance(refusal, str)
    assert reason in refusal


def test_pixels_that_are_too_many_are_refused_and_padding_behind_them_is_not(tmp_path: Path) -> None:
    words = body(0, SHAPE).tobytes()

    padded = outcome(tmp_path, with_attribute(native(), "PixelData", words + b"\0\0", "OW"))
    doubled = outcome(tmp_path, with_attribute(native(), "PixelData", words * 2, "OW"))

    np.testing.assert_array_equal(padded, HU)
    assert isinstance(doubled, str)
    assert "wrong length" in doubled


def test_of_two_pixel_data_elements_neither_is_guessed_silently(tmp_path: Path) -> None:
    parts = parts_of(native())
    other = parts.element(PIXELS, b"OW", body(5, SHAPE).tobytes())

    result = outcome(tmp_path, replace(parts, elements=(*parts.elements, other)).joined())

    assert isinstance(result, str) or np.array_equal(result, HU)


def test_pixels_before_the_header_are_no_image(tmp_path: Path) -> None:
    parts = parts_of(native())

    result = outcome(tmp_path, replace(parts, elements=(parts.elements[-1], *parts.elements[:-1])).joined())

    assert isinstance(result, str) or np.array_equal(result, HU)


@pytest.mark.parametrize("vr", ["OB", "UN", "OF", "LO"])
def test_pixel_data_of_another_type_hold_the_same_pixels_or_are_refused(tmp_path: Path, vr: str) -> None:
    parts = parts_of(native())
    *rest, pixels = parts.elements
    changed = replace(parts, elements=(*rest, pixels[:4] + vr.encode() + pixels[6:])).joined()

    result = outcome(tmp_path, changed)

    assert isinstance(result, str) or np.array_equal(result, HU)
    assert vr not in ("OB", "UN") or np.array_equal(result, HU)


@pytest.mark.parametrize("told", [*COMPRESSED, ExplicitVRBigEndian, ImplicitVRLittleEndian, "1.2.3.4.5", ""])
def test_native_pixels_under_another_transfer_syntax(tmp_path: Path, told: str) -> None:
    result = outcome(tmp_path, with_syntax(native(), told))

    assert isinstance(result, str) or np.array_equal(result, HU)


@pytest.mark.parametrize("told", [*COMPRESSED, ExplicitVRLittleEndian, "1.2.3.4.5"])
@pytest.mark.parametrize("true", COMPRESSED)
def test_compressed_pixels_under_another_transfer_syntax(tmp_path: Path, true: str, told: str) -> None:
    (content,) = synthetic_series(true, 0, slices=1, shape=SHAPE).files

    result = outcome(tmp_path, with_syntax(content, told))

    assert isinstance(result, str) or np.array_equal(result, HU)
    assert true != told or np.array_equal(result, HU)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("shape", [(36, 41), (37, 40), (35, 40), (4096, 4096)])
def test_codestreams_of_another_size_than_the_header_says(tmp_path: Path, syntax: str, shape: tuple[int, int]) -> None:
    (content,) = synthetic_series(syntax, 0, slices=1, shape=SHAPE).files
    content = with_attribute(content, "Rows", struct.pack("<H", shape[0]))

    result = outcome(tmp_path, with_attribute(content, "Columns", struct.pack("<H", shape[1])))

    assert isinstance(result, str)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("frames", [[], [b"\0" * 2], [b"\0" * 64], [b"\xff" * 64], [b"\xff\xd8\xff\xf7"], [b"x"] * 50])
def test_fragments_that_hold_no_image(tmp_path: Path, syntax: str, frames: list[bytes]) -> None:
    (content,) = synthetic_series(syntax, 0, slices=1, shape=SHAPE).files
    parts = parts_of(content)
    value = encapsulate(frames) if frames else b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = parts.elements[-1][:12] + value

    result = outcome(tmp_path, replace(parts, elements=(*parts.elements[:-1], pixels)).joined())

    assert isinstance(result, str)


@pytest.mark.slow
@pytest.mark.parametrize("syntax", COMPRESSED)
def test_codestreams_with_flipped_bits(tmp_path: Path, syntax: str) -> None:
    """Native decoders are where memory is written: 25 codestreams, each with bytes changed anywhere."""
    random = np.random.default_rng(7)
    (content,) = synthetic_series(syntax, 0, slices=1, shape=SHAPE).files
    start = len(content) - len(parts_of(content).elements[-1]) + 20
    for _ in range(25):
        altered = bytearray(content)
        for place in random.integers(start, len(content) - 8, 4):
            altered[place] ^= 1 << random.integers(8)
        result = outcome(tmp_path, bytes(altered))
        assert isinstance(result, str) or result.shape == SHAPE


def test_a_gigabyte_of_zeros_in_a_megabyte(tmp_path: Path) -> None:
    """A deflate bomb beside a sound series: left out with its reason, in an address space that could not hold it."""
    write_series(tmp_path / "in", slices=2)
    parts = parts_of(encoded(ct_dataset(body(0, SHAPE)), DeflatedExplicitVRLittleEndian))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    header = b"".join(parts.elements[:-1]) + parts.elements[-1][:8] + struct.pack("<L", 1 << 30)
    bomb = deflater.compress(header) + b"".join(deflater.compress(bytes(1 << 20)) for _ in range(1024))
    (tmp_path / "in" / "bomb.dcm").write_bytes(parts.head + bomb + deflater.flush())

    done = inspected_within(tmp_path / "in", 3 << 30)

    assert done.returncode == ExitCode.DONE, done.stderr
    assert "1 × inflates beyond" in done.stdout


def test_rows_and_columns_that_would_fill_the_memory(tmp_path: Path) -> None:
    """65,535 × 65,535 pixels in a codestream of a few bytes, beside a sound series."""
    write_series(tmp_path / "in", slices=2)
    (content,) = synthetic_series(JPEG2000Lossless, 0, slices=1, shape=SHAPE).files
    at = content.index(b"\xff\x51")  # SIZ (ISO/IEC 15444-1 §A.5.1): Xsiz, Ysiz, then offsets and the size of tiles
    size = struct.pack(">LLLLLL", 60000, 60000, 0, 0, 60000, 60000)
    (tmp_path / "in" / "large.dcm").write_bytes(content[: at + 6] + size + content[at + 6 + len(size) :])

    command = "ingest", tmp_path / "in", tmp_path / "out", "--keep-going"
    done = subprocess.run(
        [sys.executable, "-m", "ldctpipe.cli.app", *map(str, command)], capture_output=True, text=True, check=False
    )

    assert done.returncode == ExitCode.DONE, done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "out").glob("*/case.json"))) == 1


def inspected_within(folder: Path, address_space_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run `ldctpipe inspect` in a process that can't map more than so many bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))

    command = [sys.executable, "-m", "ldctpipe.cli.app", "inspect", str(folder), "--threads", "2"]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=limit, timeout=120, env=FEW_THREADS
    )


@pytest.mark.parametrize("tag", [0x07A1100A, 0x7FE11010])
@pytest.mark.parametrize("is_emptied", [True, False])
def test_pixels_in_a_private_element_are_named(tmp_path: Path, tag: int, is_emptied: bool) -> None:
    image = ct_dataset(body(0))
    image.add_new(tag & 0xFFFF0000 | 0x0010, "LO", "MAKER")
    image.add_new(tag, "OW", image.PixelData[: len(image.PixelData) // 3 * 2 // 2 * 2])
    if is_emptied:
        image.PixelData = b""
    else:
        del image.PixelData
    path = tmp_path / "private.dcm"
    image.save_as(path, enforce_file_format=True)

    with pytest.raises(InputError, match="private element of the vendor") as refusal:
        discover(path)

    assert f"({tag >> 16:04x},{tag & 0xFFFF:04x})" in refusal.value.fault
    assert "cut short" not in refusal.value.fault


def test_a_large_private_header_is_not_taken_for_pixels(tmp_path: Path) -> None:
    image = ct_dataset(body(0))
    image.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    image.add_new(0x00291010, "OB", bytes(20000))
    del image.PixelData
    path = tmp_path / "header.dcm"
    image.save_as(path, enforce_file_format=True)

    with pytest.raises(InputError, match="no pixel data"):
        discover(path)
