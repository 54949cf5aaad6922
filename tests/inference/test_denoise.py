"""Denoising: what stays, what changes, what is refused."""

from __future__ import annotations

import json
import shutil
import sys

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from safetensors.torch import load_file, save_file

from ldctpipe.devices import pick_device
from ldctpipe.dicom.opening import looks_like_dicom
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import sha256_of_file
from ldctpipe.inference.denoise import DenoiseRequest, denoise
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.recipes import slice_denoiser
from ldctpipe.recipes.bundle import read_bundle
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume


@pytest.fixture
def bundle(tiny_bundle):
    return tiny_bundle


def volume_of(hu, padding=None) -> Volume:
    return Volume(hu, np.diag([-1.0, -1.0, 3.0, 1.0]), np.arange(len(hu)) * 3.0, padding)


def denoiser_of(bundle) -> Denoiser:
    return Denoiser(read_bundle(bundle), torch.device("cpu"))


def test_nothing_of_the_model_is_the_source(bundle):
    hu = np.random.default_rng(0).integers(-3024, 3072, (2, 64, 64), dtype=np.int16)

    assert np.array_equal(denoiser_of(bundle).denoise(volume_of(hu), blend=0), hu)


def test_blend_is_linear_in_the_correction(bundle):
    hu = np.random.default_rng(0).normal(40, 20, (1, 64, 64)).astype(np.float32)
    denoiser = denoiser_of(bundle)

    whole, half = denoiser.denoise(volume_of(hu)), denoiser.denoise(volume_of(hu), blend=0.5)

    assert np.abs(whole - hu).max() > 1
    assert np.allclose(half, (whole + hu) / 2, atol=1e-3)


def test_metal_and_air_beyond_the_range_are_not_cut_off(bundle):
    hu = np.full((1, 64, 64), 40, dtype=np.int16)
    hu[0, 20:30, 20:30], hu[0, 40:50, 40:50] = 12000, -1024

    out = denoiser_of(bundle).denoise(volume_of(hu))

    assert abs(int(out[0, 25, 25]) - 12000) < 1000
    assert abs(int(out[0, 45, 45]) + 1024) < 1000


def test_padding_stays_to_the_bit(bundle):
    hu = np.full((1, 64, 64), 40, dtype=np.int16)
    padding = np.zeros(hu.shape, dtype=bool)
    hu[0, :8], padding[0, :8] = -3024, True

    out = denoiser_of(bundle).denoise(volume_of(hu, Padding.of(padding)))

    assert (out[padding] == -3024).all()
    assert (out[~padding] != 40).any()


def test_the_network_sees_padding_as_air_whatever_its_range(bundle):
    hu = np.full((1, 64, 64), 40, dtype=np.int16)
    padding = np.zeros(hu.shape, dtype=bool)
    hu[0, :8], padding[0, :8] = -3024, True
    denoiser = denoiser_of(bundle)

    seen_hu = denoiser.bundle.recipe.data.normalization.as_map().denormalize(
        denoiser.network_input(volume_of(hu, Padding.of(padding)), 0)
    )

    assert denoiser.bundle.recipe.data.normalization.lower_hu == -1200
    assert seen_hu[0, 0, :8].numpy() == pytest.approx(-1000, abs=0.01)
    assert seen_hu[0, 0, 8:].numpy() == pytest.approx(40, abs=0.01)


def test_batches_do_not_change_a_slice(bundle, monkeypatch):
    hu = np.random.default_rng(1).integers(-100, 200, (3, 64, 64), dtype=np.int16)
    one = denoiser_of(bundle).denoise(volume_of(hu))
    monkeypatch.setitem(slice_denoiser._SLICES_AT_ONCE, "cpu", 3)

    assert np.abs(denoiser_of(bundle).denoise(volume_of(hu)).astype(int) - one).max() <= 1  # of rounding


def test_a_real_series_keeps_pixels_at_blend_0_and_geometry_always(bundle, real_data, tmp_path):
    source = real_data / "phantom_philips_5mm"
    for blend, name in ((0.0, "identity"), (1.0, "denoised")):
        denoise(DenoiseRequest(source, tmp_path / name, bundle, blend=blend, device="cpu"))
    by_position = {ds.ImagePositionPatient[2]: ds for ds in map(pydicom.dcmread, source.iterdir())}

    for name in ("identity", "denoised"):
        files = sorted((tmp_path / name).glob("*.dcm"))
        assert len(files) == len(by_position)
        for file in files:
            derived = pydicom.dcmread(file)
            original = by_position[derived.ImagePositionPatient[2]]
            assert derived.ImageOrientationPatient == original.ImageOrientationPatient
            assert derived.PixelSpacing == original.PixelSpacing
            assert derived.SOPInstanceUID != original.SOPInstanceUID
            assert derived.ImageType[0] == "DERIVED"
            assert np.array_equal(derived.pixel_array, original.pixel_array) == (name == "identity")


GEOMETRY = (
    "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness",
    "GantryDetectorTilt", "FrameOfReferenceUID", "StudyInstanceUID", "RescaleSlope", "RescaleIntercept", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "WindowCenter", "WindowWidth",
)  # fmt: skip


def test_nothing_of_the_model_gives_every_real_series_back_under_new_uids_and_the_same_twice(
    bundle, real_data, tmp_path, monkeypatch
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("first", "second"):
        denoise(DenoiseRequest(real_data, tmp_path / name, bundle, blend=0.0, device="cpu"))

    derived = sorted((tmp_path / "first").rglob("*.dcm"))
    sources = {str(ds.SOPInstanceUID): ds for ds in map(pydicom.dcmread, _files(real_data)) if "PixelData" in ds}
    assert len(derived) == 124  # all CT images of the folder, each in a series
    for path in derived:
        image = pydicom.dcmread(path)
        source = sources[image.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert image.PixelData == source.PixelData
        assert all(image.get(keyword) == source.get(keyword) for keyword in GEOMETRY)
        assert image.SOPInstanceUID not in sources and image.SeriesInstanceUID != source.SeriesInstanceUID
        assert sha256_of_file(path) == sha256_of_file(tmp_path / "second" / path.relative_to(tmp_path / "first"))


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file() and looks_like_dicom(path)]


def test_the_same_job_again_writes_nothing_and_another_is_refused(bundle, real_data, tmp_path):
    source, out = real_data / "body" / "A002304", tmp_path / "out"
    denoise(DenoiseRequest(source, out, bundle, device="cpu"))
    before = {file.name: (sha256_of_file(file), file.stat().st_mtime_ns) for file in out.iterdir()}

    again = denoise(DenoiseRequest(source, out, bundle, device="cpu"))

    assert {outcome.state for outcome in again.outcomes} == {"done before"}
    assert before == {file.name: (sha256_of_file(file), file.stat().st_mtime_ns) for file in out.iterdir()}
    with pytest.raises(InputError, match="already holds"):
        denoise(DenoiseRequest(source, out, bundle, blend=0.5, device="cpu"))


def test_a_file_that_is_gone_is_written_again(bundle, real_data, tmp_path):
    request = DenoiseRequest(real_data / "body" / "A002304", tmp_path / "out", bundle, device="cpu")
    denoise(request)
    lost = next((tmp_path / "out").glob("*.dcm"))
    lost.unlink()

    again = denoise(request)

    assert sorted(outcome.state for outcome in again.outcomes) == ["denoised", "done before"]
    assert lost.exists()


def test_a_refused_series_stops_no_other_and_is_tried_again(bundle, real_data, tmp_path, monkeypatch):
    module = sys.modules["ldctpipe.inference.denoise"]
    original, keys = module.write_derived_series, []

    def damaged_while_writing(series, *arguments, **options):
        keys.append(series.key)
        if len(keys) == 1:
            original(series, *arguments, **options)
            raise InputError("a file", "can't be read", "copy it again")
        return original(series, *arguments, **options)

    monkeypatch.setattr(module, "write_derived_series", damaged_while_writing)
    request = DenoiseRequest(real_data / "body" / "A002304", tmp_path / "out", bundle, device="cpu")

    first = denoise(request)
    left = {file.name[:8] for file in (tmp_path / "out").glob("*.dcm")}
    second = denoise(request)

    assert [outcome.state for outcome in first.outcomes] == ["refused", "denoised"]
    assert left == {keys[1][:8]}
    assert [outcome.state for outcome in second.outcomes] == ["denoised", "done before"]


def test_several_patients_get_a_folder_each_and_strangers_stay(bundle, real_data, tmp_path):
    request = DenoiseRequest(real_data / "body", tmp_path / "out", bundle, blend=0.0, device="cpu")
    denoise(request)

    assert len(list((tmp_path / "out").iterdir())) == 7
    assert all((folder / "manifest.json").is_file() for folder in (tmp_path / "out").iterdir())
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert {outcome.state for outcome in denoise(request).outcomes} == {"done before"}
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_the_same_job_elsewhere_gives_the_same_bytes(bundle, real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("a", "b"):
        denoise(DenoiseRequest(real_data / "body" / "A002304", tmp_path / name, bundle, device="cpu"))

    strip = [{f.name: f.read_bytes() for f in (tmp_path / n).glob("*.dcm")} for n in ("a", "b")]
    assert strip[0] == strip[1]
    assert strip[0]


def test_the_manifest_counts_and_names_no_patient(bundle, real_data, tmp_path):
    denoise(DenoiseRequest(real_data / "body" / "A002304", tmp_path / "out", bundle, device="cpu"))
    text = (tmp_path / "out" / "manifest.json").read_text()
    manifest = json.loads(text)

    assert manifest["model"]["name"] == "wgan-gp-effnetv2-mini"
    assert [series["state"] for series in manifest["series"]] == ["denoised"] * 2
    for series in manifest["series"]:
        for name, digest in series["files"].items():
            assert sha256_of_file(tmp_path / "out" / name) == digest
    for file in (real_data / "body" / "A002304").iterdir():
        header = pydicom.dcmread(file, stop_before_pixels=True)
        assert str(header.PatientID) not in text
        assert str(header.StudyInstanceUID) not in text


def test_a_denoised_series_is_not_denoised_again(bundle, real_data, tmp_path):
    denoise(DenoiseRequest(real_data / "body" / "A002304", tmp_path / "once", bundle, device="cpu"))

    twice = denoise(DenoiseRequest(tmp_path / "once", tmp_path / "twice", bundle, device="cpu"))

    assert [outcome.reason for outcome in twice.refused] == ["already denoised by ldctpipe"] * 2
    assert [path.name for path in (tmp_path / "twice").iterdir()] == ["manifest.json"]


def test_nifti_comes_out_as_nifti_with_its_affine(bundle, tmp_path):
    affine = np.array([[-0.7, 0.1, 0, 5], [0.1, -0.7, 0, 6], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    hu = np.random.default_rng(0).integers(-100, 100, (64, 70, 3), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, affine), tmp_path / "scan.nii.gz")

    denoise(DenoiseRequest(tmp_path / "scan.nii.gz", tmp_path / "out", bundle, device="cpu"))

    image = nibabel.load(tmp_path / "out" / "scan.nii.gz")
    assert np.allclose(image.affine, affine)
    assert image.shape == hu.shape
    assert image.get_data_dtype() == np.int16
    again = denoise(DenoiseRequest(tmp_path / "scan.nii.gz", tmp_path / "out", bundle, device="cpu"))
    assert [outcome.state for outcome in again.outcomes] == ["done before"]


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.yaml"])
def test_an_altered_bundle_is_refused(bundle, tmp_path, name):
    shutil.copytree(bundle, tmp_path / "model")
    if name == "model.safetensors":
        weights = load_file(tmp_path / "model" / name)
        weights["head.bias"] += 1
        save_file(weights, tmp_path / "model" / name)
    else:
        text = (tmp_path / "model" / name).read_text()
        (tmp_path / "model" / name).write_text(text.replace("upper_hu: 3072", "upper_hu: 3100"))

    with pytest.raises(InputError, match="altered after training"):
        read_bundle(tmp_path / "model")


def test_a_bundle_without_card_is_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "model")
    (tmp_path / "model" / "card.json").unlink()

    with pytest.raises(InputError, match=r"card\.json: is missing"):
        read_bundle(tmp_path / "model")


def test_a_pickle_in_place_of_weights_is_not_opened(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "model")
    torch.save({"head.bias": torch.zeros(1)}, tmp_path / "model" / "model.safetensors")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    card["weights"]["sha256"] = sha256_of_file(tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "card.json").write_text(json.dumps(card))

    with pytest.raises(InputError, match="is not a safetensors file"):
        denoiser_of(tmp_path / "model")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA, so asking for it is no fault")
def test_a_device_that_is_not_there():
    with pytest.raises(UsageError, match="--device cuda"):
        pick_device("cuda")
