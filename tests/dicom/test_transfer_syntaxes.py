"""Every transfer syntax that is decoded, against the words before compression; every contradiction refused."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from small_dicom import body, ct_dataset, write_ct

from ldctpipe.dicom import codecs
from ldctpipe.dicom.codecs import CODECS, missing_codec
from ldctpipe.dicom.compressed_image import stored_words
from ldctpipe.dicom.decompression import Decoders, decompressed
from ldctpipe.dicom.rejection import Rejected

FORMATS = [(bits, signed) for bits in (12, 16) for signed in (False, True)]
FORMAT_NAMES = [f"{'signed' if signed else 'unsigned'}-{bits}" for bits, signed in FORMATS]
SHAPE = (65, 71)  # odd, so that streams need padding
Encoder = Callable[[Path, Path], None]


def noise(bits: int, signed: bool, seed: int = 0) -> np.ndarray:
    """Stored values over all that `bits` hold, both ends among them."""
    lowest = -(1 << (bits - 1)) if signed else 0
    values = np.random.default_rng(seed).integers(lowest, lowest + (1 << bits), SHAPE)
    values[0, :2] = lowest, lowest + (1 << bits) - 1
    return values.astype(np.int16 if signed else np.uint16)


def write_noise(path: Path, bits: int, signed: bool) -> np.ndarray:
    values = noise(bits, signed)
    write_ct(path, values, BitsStored=bits, HighBit=bits - 1)
    return values.view(np.uint16)


def by_pydicom(syntax: uid.UID, **options: Any) -> Encoder:
    def encode(source: Path, target: Path) -> None:
        image = pydicom.dcmread(source)
        image.compress(syntax, **options)
        image.save_as(target)

    return encode


def by_gdcm(syntax: int) -> Encoder:
    """GDCM compresses values in BitsStored bits, where dcmtk compresses whole 16-bit cells."""

    def encode(source: Path, target: Path) -> None:
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(source))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(target))
        assert writer.Write()

    return encode


def by_dcmtk(tool: str, *options: str) -> Encoder:
    def encode(source: Path, target: Path) -> None:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} of dcmtk is not installed")
        subprocess.run([tool, *options, source, target], check=True, capture_output=True)

    return encode


def by_openjph(syntax: uid.UID, *options: str) -> Encoder:
    """High-throughput JPEG 2000, which no library here encodes, by the tool of OpenJPH."""

    def encode(source: Path, target: Path) -> None:
        if shutil.which("ojph_compress") is None:
            pytest.skip("ojph_compress (Debian package openjph-tools) is not installed")
        image = pydicom.dcmread(source)
        if image.PixelRepresentation:
            pytest.skip("ojph_compress takes unsigned grey images only")
        portable, stream = target.with_suffix(".pgm"), target.with_suffix(".j2c")
        heading = f"P5 {image.Columns} {image.Rows} {(1 << image.BitsStored) - 1}\n".encode()
        portable.write_bytes(heading + image.pixel_array.astype(">u2").tobytes())
        command = ["ojph_compress", "-i", portable, "-o", stream, *options]
        subprocess.run(command, check=True, capture_output=True)
        save_encapsulated(image, stream.read_bytes(), syntax, target)

    return encode


def uncompressed(source: Path, target: Path) -> None:
    image = pydicom.dcmread(source)
    save_encapsulated(image, image.PixelData, uid.UID("1.2.840.10008.1.2.1.98"), target)


def save_encapsulated(image: pydicom.Dataset, frame: bytes, syntax: uid.UID, target: Path) -> Path:
    image.PixelData = encapsulate([frame])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax
    image.save_as(target, enforce_file_format=True)
    return target


LOSSLESS: dict[str, tuple[str, Encoder]] = {
    "encapsulated uncompressed": ("1.2.840.10008.1.2.1.98", uncompressed),
    "RLE, pydicom": (uid.RLELossless, by_pydicom(uid.RLELossless)),
    "RLE, dcmtk": (uid.RLELossless, by_dcmtk("dcmcrle")),
    "JPEG Lossless, GDCM": (uid.JPEGLossless, by_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14)),
    "JPEG Lossless SV1, GDCM": (uid.JPEGLosslessSV1, by_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14_1)),
    "JPEG Lossless SV1, dcmtk": (uid.JPEGLosslessSV1, by_dcmtk("dcmcjpeg", "+e1")),
    **{
        f"JPEG Lossless predictor {predictor}, dcmtk": (
            uid.JPEGLossless,
            by_dcmtk("dcmcjpeg", "+el", "+sv", str(predictor)),
        )
        for predictor in range(1, 8)
    },
    "JPEG-LS, pyjpegls": (uid.JPEGLSLossless, by_pydicom(uid.JPEGLSLossless)),
    "JPEG-LS, GDCM": (uid.JPEGLSLossless, by_gdcm(gdcm.TransferSyntax.JPEGLSLossless)),
    "JPEG-LS, dcmtk": (uid.JPEGLSLossless, by_dcmtk("dcmcjpls")),
    "JPEG 2000, openjpeg": (uid.JPEG2000Lossless, by_pydicom(uid.JPEG2000Lossless)),
    "JPEG 2000, GDCM": (uid.JPEG2000Lossless, by_gdcm(gdcm.TransferSyntax.JPEG2000Lossless)),
    "HTJ2K": (uid.HTJ2KLossless, by_openjph(uid.HTJ2KLossless, "-reversible", "true")),
    "HTJ2K RPCL": (
        uid.HTJ2KLosslessRPCL,
        by_openjph(uid.HTJ2KLosslessRPCL, "-reversible", "true", "-prog_order", "RPCL"),
    ),
}


@pytest.mark.parametrize(("bits", "signed"), FORMATS, ids=FORMAT_NAMES)
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_syntaxes_give_the_words_back(name: str, bits: int, signed: bool, tmp_path: Path) -> None:
    syntax, encode = LOSSLESS[name]
    words = write_noise(tmp_path / "plain.dcm", bits, signed)
    encode(tmp_path / "plain.dcm", tmp_path / "packed.dcm")
    assert pydicom.dcmread(tmp_path / "packed.dcm").file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(decompressed(tmp_path / "packed.dcm"), words)


@pytest.mark.parametrize("option", ["+ee", "+es", "+ep", "+eb"])
def test_lossy_jpeg_is_decoded_as_dcmtk_decodes_it(option: str, tmp_path: Path) -> None:
    """Extended, spectral selection and full progression in 12 bits, baseline in 8."""
    write_ct(tmp_path / "plain.dcm", body(), BitsStored=12, HighBit=11)
    by_dcmtk("dcmcjpeg", option)(tmp_path / "plain.dcm", tmp_path / "packed.dcm")
    by_dcmtk("dcmdjpeg")(tmp_path / "packed.dcm", tmp_path / "unpacked.dcm")
    packed = pydicom.dcmread(tmp_path / "packed.dcm")
    if packed.BitsAllocated == 8:  # a cell of 16 bits is what CT has
        packed.BitsAllocated = 16
        packed.save_as(tmp_path / "packed.dcm")
    expected = pydicom.dcmread(tmp_path / "unpacked.dcm").pixel_array
    np.testing.assert_array_equal(decompressed(tmp_path / "packed.dcm"), expected)


@pytest.mark.parametrize(("bits", "signed"), FORMATS, ids=FORMAT_NAMES)
@pytest.mark.parametrize(
    ("encode", "largest_error"),
    [
        (by_pydicom(uid.JPEGLSNearLossless, jls_error=2), 2),
        (by_gdcm(gdcm.TransferSyntax.JPEGLSNearLossless), 3),
    ],
    ids=["pyjpegls", "GDCM"],
)
def test_near_lossless_jpeg_ls_stays_within_its_error(
    encode: Encoder, largest_error: int, bits: int, signed: bool, tmp_path: Path
) -> None:
    values = body().astype(np.int16 if signed else np.uint16) // 2 - (1024 if signed else 0)
    write_ct(tmp_path / "plain.dcm", values, BitsStored=bits, HighBit=bits - 1)
    encode(tmp_path / "plain.dcm", tmp_path / "packed.dcm")
    decoded = decompressed(tmp_path / "packed.dcm").view(values.dtype).astype(int)
    assert np.abs(decoded - values).max() <= largest_error


@pytest.mark.parametrize("signed", [False, True])
def test_lossy_jpeg_2000_comes_near(signed: bool, tmp_path: Path) -> None:
    values = body().astype(np.int16 if signed else np.uint16) - (1024 if signed else 0)
    image = ct_dataset(values, BitsStored=12, HighBit=11)
    image.compress(uid.JPEG2000, j2k_cr=[4])
    image.save_as(tmp_path / "packed.dcm", enforce_file_format=True)
    decoded = decompressed(tmp_path / "packed.dcm").view(values.dtype).astype(int)
    assert 0 < np.abs(decoded - values).max() < 30


def test_lossy_high_throughput_jpeg_2000_comes_near(tmp_path: Path) -> None:
    write_ct(tmp_path / "plain.dcm", body(), BitsStored=12, HighBit=11)
    by_openjph(uid.HTJ2K, "-qstep", "0.001")(tmp_path / "plain.dcm", tmp_path / "packed.dcm")
    assert 0 < np.abs(decompressed(tmp_path / "packed.dcm").astype(int) - body()).max() < 20


def test_a_real_slice_comes_back_from_every_lossless_syntax(real_data: Path, tmp_path: Path) -> None:
    source = next(path for path in sorted(real_data.rglob("*.dcm")) if is_plain_ct(path))
    words = np.frombuffer(pydicom.dcmread(source).PixelData, "<u2")
    for name, (_, encode) in LOSSLESS.items():
        if name.startswith("HTJ2K") or (name.endswith("dcmtk") and shutil.which("dcmcjpeg") is None):
            continue
        encode(source, tmp_path / "packed.dcm")
        np.testing.assert_array_equal(decompressed(tmp_path / "packed.dcm").ravel(), words, err_msg=name)


def is_plain_ct(path: Path) -> bool:
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    plain = header.get("SOPClassUID") == uid.CTImageStorage and "ORIGINAL" in header.get("ImageType", [])
    return plain and header.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian


# Header against codestream


def jpeg_ls(values: np.ndarray, precision: int) -> bytes:
    """A JPEG-LS codestream of a precision of its own, whatever a header says."""
    image = ct_dataset(values, BitsStored=precision, HighBit=precision - 1)
    image.compress(uid.JPEGLSLossless)
    return next(generate_frames(image.PixelData, number_of_frames=1))


def jpeg_2000(values: np.ndarray, precision: int) -> bytes:
    image = ct_dataset(values, BitsStored=precision, HighBit=precision - 1)
    image.compress(uid.JPEG2000Lossless)
    return next(generate_frames(image.PixelData, number_of_frames=1))


def saved(frame: bytes, syntax: uid.UID, path: Path, signed: bool = False, **attributes: object) -> Path:
    image = ct_dataset(np.zeros(SHAPE, np.int16 if signed else np.uint16), **attributes)
    return save_encapsulated(image, frame, syntax, path)


def reason_of(path: Path) -> str:
    with pytest.raises(Rejected) as refused:
        stored_words(path)
    return refused.value.rejection.reason


def test_a_wider_codestream_is_read_where_its_values_fit(tmp_path: Path) -> None:
    values = noise(12, signed=False)
    path = saved(jpeg_ls(values, 16), uid.JPEGLSLossless, tmp_path / "x", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(stored_words(path), values)


def test_a_wider_codestream_with_values_beyond_bits_stored_is_refused(tmp_path: Path) -> None:
    values = noise(12, signed=False)
    values[5, 5] = 4096  # masked to 12 bits this would be air
    path = saved(jpeg_ls(values, 16), uid.JPEGLSLossless, tmp_path / "x", BitsStored=12, HighBit=11)
    assert "other bits" in reason_of(path)


def test_padding_beyond_bits_stored_is_kept(tmp_path: Path) -> None:
    values = noise(12, signed=False)
    values[5, 5] = 63536
    attributes = {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": 63536}
    path = saved(jpeg_ls(values, 16), uid.JPEGLSLossless, tmp_path / "x", **attributes)
    np.testing.assert_array_equal(stored_words(path), values)


@pytest.mark.parametrize("top_bits", ["kept", "cleared"])
def test_signed_values_in_whole_cells_are_read_with_and_without_their_sign_above(top_bits: str, tmp_path: Path) -> None:
    words = noise(12, signed=True).view(np.uint16)
    cells = words if top_bits == "kept" else words & 0x0FFF
    path = saved(jpeg_ls(cells, 16), uid.JPEGLSLossless, tmp_path / "x", signed=True, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(stored_words(path), cells)


def test_a_narrower_codestream_is_read_where_its_sign_is_plain(tmp_path: Path) -> None:
    values = noise(12, signed=False)
    path = saved(jpeg_ls(values, 12), uid.JPEGLSLossless, tmp_path / "x", BitsStored=16, HighBit=15)
    np.testing.assert_array_equal(stored_words(path), values)
    signed = noise(12, signed=True)
    path = saved(jpeg_2000(signed, 12), uid.JPEG2000Lossless, tmp_path / "y", signed=True)
    np.testing.assert_array_equal(stored_words(path).view(np.int16), signed)


def test_a_narrower_codestream_whose_sign_can_be_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    path = saved(jpeg_ls(noise(12, signed=True), 12), uid.JPEGLSLossless, tmp_path / "x", signed=True)
    assert "another sign" in reason_of(path)


def test_unsigned_jpeg_2000_of_signed_pixels_is_read_as_twos_complement(tmp_path: Path) -> None:
    signed = noise(12, signed=True)
    frame = jpeg_2000(signed.view(np.uint16) & 0x0FFF, 12)
    path = saved(frame, uid.JPEG2000Lossless, tmp_path / "x", signed=True, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(stored_words(path).view(np.int16), signed)


def test_negative_jpeg_2000_of_unsigned_pixels_is_refused(tmp_path: Path) -> None:
    path = saved(jpeg_2000(noise(12, signed=True), 12), uid.JPEG2000Lossless, tmp_path / "x", BitsStored=12, HighBit=11)
    assert "another sign" in reason_of(path)


def test_values_below_a_higher_high_bit_are_shifted_up(tmp_path: Path) -> None:
    values = noise(12, signed=False)
    path = saved(jpeg_ls(values, 12), uid.JPEGLSLossless, tmp_path / "x", BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(stored_words(path), values << 4)
    path = saved(jpeg_ls(values << 4, 16), uid.JPEGLSLossless, tmp_path / "y", BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(stored_words(path), values << 4)
    path = saved(jpeg_ls(values, 14), uid.JPEGLSLossless, tmp_path / "z", BitsStored=12, HighBit=15)
    assert "other bits" in reason_of(path)


def test_run_lengths_keep_what_lies_above_bits_stored(tmp_path: Path) -> None:
    """Overlays of old files lie there; RLE compresses cells byte by byte, so it says nothing about values."""
    cells = noise(16, signed=False)
    image = ct_dataset(cells, BitsStored=12, HighBit=11)
    image.compress(uid.RLELossless)
    image.save_as(tmp_path / "x", enforce_file_format=True)
    np.testing.assert_array_equal(stored_words(tmp_path / "x"), cells)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_codestream_of_another_size_is_refused(name: str, tmp_path: Path) -> None:
    write_noise(tmp_path / "plain.dcm", 12, signed=False)
    LOSSLESS[name][1](tmp_path / "plain.dcm", tmp_path / "packed.dcm")
    image = pydicom.dcmread(tmp_path / "packed.dcm")
    image.Rows, image.Columns = image.Columns, image.Rows + 1
    image.save_as(tmp_path / "packed.dcm")
    with pytest.raises(Rejected):
        decompressed(tmp_path / "packed.dcm")


def test_a_frame_in_several_fragments_is_put_together(tmp_path: Path) -> None:
    values = noise(12, signed=False)
    image = ct_dataset(np.zeros(SHAPE, np.uint16), BitsStored=12, HighBit=11)
    image.PixelData = encapsulate([jpeg_ls(values, 12)], fragments_per_frame=5)
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    image.save_as(tmp_path / "x", enforce_file_format=True)
    np.testing.assert_array_equal(stored_words(tmp_path / "x"), values)


# What is not decoded


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    codecs._missing_codec.cache_clear()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gdcm" else found(name))
    rejection = missing_codec(uid.JPEGLosslessSV1)
    assert rejection and "python-gdcm" in rejection.reason and "pip install python-gdcm" in rejection.remedy
    assert missing_codec(uid.JPEGLSLossless) is None
    codecs._missing_codec.cache_clear()


def test_all_that_pydicom_knows_is_decoded_or_refused_with_a_reason() -> None:
    for identifier, (name, kind, *_) in uid.UID_dictionary.items():
        if kind == "Transfer Syntax":
            rejection = missing_codec(identifier)
            if identifier in CODECS or not uid.UID(identifier).is_encapsulated:
                assert rejection is None, name
            else:
                assert rejection and rejection.is_fault, name
            if any(word in name for word in ("MPEG", "HEVC", "SMPTE")):
                assert rejection and "video" in rejection.reason, name
            if "JPIP" in name:
                assert rejection and "JPIP" in rejection.reason, name


@pytest.mark.parametrize("identifier", ["1.2.840.113619.5.2", "1.2.3", "garbage", "../../x"])
def test_private_syntaxes_are_not_taken_for_uncompressed_ones(identifier: str) -> None:
    rejection = missing_codec(identifier)
    assert rejection and "not in the standard" in rejection.reason and identifier not in rejection.reason


def test_files_without_meta_information_count_as_uncompressed() -> None:
    assert missing_codec("") is None


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_stream_cut_anywhere_in_a_whole_file_is_refused(name: str, tmp_path: Path) -> None:
    """Some decoders fill what is missing with grey, which would be wrong HU."""
    syntax, encode = LOSSLESS[name]
    write_ct(tmp_path / "plain.dcm", body(), BitsStored=12, HighBit=11)
    encode(tmp_path / "plain.dcm", tmp_path / "packed.dcm")
    image = pydicom.dcmread(tmp_path / "packed.dcm")
    frame = next(generate_frames(image.PixelData, number_of_frames=1))
    np.testing.assert_array_equal(
        decompressed(save_encapsulated(image, frame, uid.UID(syntax), tmp_path / "x.dcm")), body()
    )
    for length in (len(frame) // 2, len(frame) * 9 // 10, len(frame) - 100, len(frame) - 4):
        with pytest.raises(Rejected):
            decompressed(save_encapsulated(image, frame[:length], uid.UID(syntax), tmp_path / "x.dcm"))


@pytest.fixture(scope="module")
def impatient() -> Iterator[Decoders]:
    decoders = Decoders(limit_s=3)
    yield decoders
    decoders.close()


@pytest.mark.parametrize("name", [name for name in LOSSLESS if "predictor" not in name])
def test_mutated_streams_end_in_words_or_a_rejection(name: str, impatient: Decoders, tmp_path: Path) -> None:
    write_ct(tmp_path / "plain.dcm", body(), BitsStored=12, HighBit=11)
    LOSSLESS[name][1](tmp_path / "plain.dcm", tmp_path / "packed.dcm")
    whole = (tmp_path / "packed.dcm").read_bytes()
    random = np.random.default_rng(len(name))
    start = whole.index(b"\xe0\x7f\x10\x00")
    outcomes = []
    for index in range(20):
        damaged = bytearray(whole)
        for position in random.integers(start + 20, len(whole), 1 + index % 8):
            damaged[position] = random.integers(256)
        (tmp_path / "damaged.dcm").write_bytes(damaged if index % 4 else damaged[: random.integers(start, len(whole))])
        try:
            outcomes.append(impatient.words(tmp_path / "damaged.dcm").shape)
        except Rejected as rejected:
            outcomes.append(rejected.rejection.reason)
    assert len(outcomes) == 20 and {each for each in outcomes if isinstance(each, tuple)} <= {(64, 72)}
