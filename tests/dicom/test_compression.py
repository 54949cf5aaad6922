"""Compressed outputs: the same words to the bit, by decoders that didn't make them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from derivations import derivation
from pydicom.uid import ExplicitVRLittleEndian
from small_dicom import body, write_ct, write_series

from ldctpipe.dicom.compression import Compression
from ldctpipe.dicom.decoding import decode
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.encapsulation import encapsulated, transfer_syntax_of
from ldctpipe.dicom.pixels import PixelFormat
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.writing import write_derived_series

OF_PIXELS = [compression for compression in Compression if transfer_syntax_of(compression).is_encapsulated]
DECODERS = {Compression.RLE: "dcmdrle", Compression.JPEG_LS: "dcmdjpls", Compression.DEFLATE: "dcmconv"}
COMPRESSED = [compression for compression in Compression if compression is not Compression.NONE]


def unchanged(source: Path, folder: Path, compression: Compression) -> list[Path]:
    """Write the series at `source` with its own HU, compressed, and return the files."""
    (series,) = discover(source).series
    folder.mkdir()
    return write_derived_series(series, read_volume(series).hu, folder, derivation(), compression=compression)


def noise(pixel_format: PixelFormat) -> np.ndarray:
    """Return words of all storable values at random, in an image of odd size, with signs extended."""
    random = np.random.default_rng(pixel_format.bits_stored)
    return random.integers(pixel_format.lowest, pixel_format.highest + 1, (33, 47)).astype(np.uint16)


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [12, 16])
def test_simpleitk_decodes_the_same_values(tmp_path: Path, compression: Compression, bits: int, signed: bool) -> None:
    pixel_format = PixelFormat(bits, bits - 1, signed)
    stored = body(shape=(256, 288)).clip(24) - np.uint16(24)
    stored[:16, :24] = noise(pixel_format)[:16, :24]
    stored = stored.view(np.int16) if signed else stored
    source = write_ct(tmp_path / "source" / "a", stored, BitsStored=bits, HighBit=bits - 1, RescaleIntercept=-1000)

    (path,) = unchanged(source, tmp_path / "out", compression)

    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == transfer_syntax_of(compression)
    hu = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]
    np.testing.assert_array_equal(hu, stored.astype(np.int64) - 1000)


@pytest.mark.parametrize("compression", DECODERS)
def test_dcmtk_decodes_the_same_words(real_data: Path, tmp_path: Path, compression: Compression) -> None:
    program = DECODERS[compression]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian package dcmtk)")
    source = sorted((real_data / "head_ge_tilted").iterdir())[0]

    (path,) = unchanged(source, tmp_path / "out", compression)
    options = ["+te"] if program == "dcmconv" else []
    subprocess.run([program, *options, path, tmp_path / "plain"], check=True, capture_output=True)

    assert pydicom.dcmread(tmp_path / "plain").PixelData == pydicom.dcmread(source).PixelData
    assert path.stat().st_size < 0.8 * source.stat().st_size


@pytest.mark.parametrize("compression", COMPRESSED)
def test_what_was_compressed_is_read_again_as_it_was(real_data: Path, tmp_path: Path, compression: Compression) -> None:
    source = sorted((real_data / "phantom_philips_5mm").iterdir())[0]

    (path,) = unchanged(source, tmp_path / "out", compression)

    np.testing.assert_array_equal(decode(path).words, decode(source).words)


@pytest.mark.parametrize("compression", [Compression.JPEG_LS, Compression.JPEG_2000])
def test_bits_that_a_codec_would_lose_keep_an_image_uncompressed(
    tmp_path: Path, compression: Compression, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ct(tmp_path / "source" / "plain", body(), 0.0, BitsStored=12, HighBit=11)
    overlay = (body() | 0x8000).astype(np.uint16)
    source = write_ct(tmp_path / "source" / "overlay", overlay, 3.0, BitsStored=12, HighBit=11).parent

    first, second = (pydicom.dcmread(path) for path in unchanged(source, tmp_path / "out", compression))

    assert first.file_meta.TransferSyntaxUID == transfer_syntax_of(compression)
    assert second.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert second.PixelData == overlay.tobytes()
    assert "1 of 2 images stay uncompressed" in capsys.readouterr().err


@pytest.mark.parametrize("compression", OF_PIXELS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "high_bit"), [(8, 7), (10, 9), (12, 15), (16, 15)])
def test_words_are_compressed_without_loss_or_not_at_all(
    compression: Compression, bits: int, high_bit: int, signed: bool
) -> None:
    pixel_format = PixelFormat(bits, high_bit, signed)
    words = noise(PixelFormat(bits, bits - 1, signed)) << np.uint16(pixel_format.shift)

    packed = encapsulated(words, pixel_format, compression)

    assert (packed is None) == (compression is not Compression.RLE and (bits == 8 or high_bit > bits - 1))
    assert packed == encapsulated(words, pixel_format, compression)


@pytest.mark.parametrize("compression", OF_PIXELS)  # dciodvfy reads no deflated files
def test_dciodvfy_takes_compressed_images(real_data: Path, tmp_path: Path, compression: Compression) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    source = sorted((real_data / "head_ge_tilted").iterdir())[0]

    (path,) = unchanged(source, tmp_path / "out", compression)

    reports = [
        subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False) for file in (path, source)
    ]
    new, old = ({line for line in each.stderr.splitlines() if line.startswith("Error")} for each in reports)
    assert new <= old


@pytest.mark.parametrize("compression", OF_PIXELS)
def test_many_threads_write_what_one_writes(tmp_path: Path, compression: Compression) -> None:
    (series,) = discover(write_series(tmp_path / "source", slices=24)).series  # one encoder crashed with two threads
    hu = read_volume(series).hu
    for threads in (1, 6):
        (tmp_path / str(threads)).mkdir()
        write_derived_series(
            series, hu, tmp_path / str(threads), derivation(), compression=compression, threads=threads
        )

    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "6" / path.name).read_bytes()
