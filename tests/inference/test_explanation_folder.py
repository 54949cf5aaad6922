"""`ldctpipe explain`: what lies in its folder, of which slice, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_bundle import write_small_bundle
from small_dicom import PATIENT_ID, PATIENT_NAME, write_series

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.files import sha256_of_file
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.explained_slice import explained_slice
from ldctpipe.inference.explanation import ExplainRequest, explain
from ldctpipe.models.explanation import attention_maps, grad_cam
from ldctpipe.recipes.bundle import read_bundle
from ldctpipe.volumes.case import read_case
from ldctpipe.volumes.nifti import write_nifti
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume

KINDS = ("spatial", "channel", "combined", "grad_cam")


@pytest.fixture(scope="module")
def case(tiny_cases):
    return tiny_cases / "cases" / "P1" / "low_dose" / "P1low_dose"


@pytest.fixture(scope="module")
def explained(tiny_bundle, case, tmp_path_factory):
    """The folder of an explanation of slice 3 of a case, and its description."""
    folder = tmp_path_factory.mktemp("explained") / "out"
    return folder, explain(ExplainRequest(tiny_bundle, case, folder, slice_number=3, device="cpu", threads=1))


def test_the_maps_are_those_of_the_network_on_the_grid_of_the_slice(explained, tiny_bundle, case):
    folder, _ = explained
    denoiser = Denoiser(read_bundle(tiny_bundle), torch.device("cpu"))
    volume = read_case(case)
    image = torch.from_numpy((volume.hu[2].astype(np.float32).clip(-1200, 3072) + 1200) / 4272)[None, None]

    with np.load(folder / "maps.npz") as maps:
        assert set(maps) == {"input_hu", "denoised_hu"} | {
            f"{kind}_{stage}" for kind in KINDS for stage in ("stage3", "stage5", "stage7", "fused")
        }
        assert {(each.dtype, each.shape) for each in maps.values()} == {(np.dtype(np.float32), (128, 128))}
        assert np.array_equal(maps["input_hu"], volume.hu[2])
        assert np.array_equal(maps["denoised_hu"], denoiser.denoise(volume)[2])
        expected = attention_maps(denoiser.network, image)
        for stage in (3, 5, 7):
            assert np.allclose(maps[f"spatial_stage{stage}"], expected[stage].spatial[0], atol=1e-5)
            assert np.allclose(maps[f"combined_stage{stage}"], expected[stage].combined[0], atol=1e-5)
        for kind in KINDS:
            assert (maps[f"{kind}_fused"].min(), maps[f"{kind}_fused"].max()) == (0, 1)


def test_the_description_says_what_was_explained(explained, tiny_bundle):
    folder, description = explained
    written = json.loads((folder / "explanation.json").read_text())

    assert written == description
    assert written["format"] == "ldctpipe-explanation@1"
    assert written["model"]["weights_sha256"] == sha256_of_file(tiny_bundle / "model.safetensors")
    assert written["model"]["recipe_sha256"] == sha256_of_file(tiny_bundle / "recipe.yaml")
    place = {name: written["slice"][name] for name in ("series", "number", "of", "position_mm")}
    assert place == {"series": "P1low_dose", "number": 3, "of": 4, "position_mm": 6.0}
    with np.load(folder / "maps.npz") as maps:
        changed = np.abs(maps["denoised_hu"] - maps["input_hu"])
        low, high = written["ranges"]["spatial"]["5"]
        assert maps["spatial_stage5"].min() == pytest.approx(low, rel=1e-5)
        assert maps["spatial_stage5"].max() == pytest.approx(high, rel=1e-5)
    asked = written["grad_cam"]
    assert asked["region"] == "body"
    assert 128**2 * 0.2 < asked["region_pixels"] < 128**2 * 0.9
    assert changed.min() < asked["mean_change_hu"] < changed.max()


def test_the_picture_can_be_looked_at(explained):
    folder, _ = explained
    with Image.open(folder / "figure.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)

    assert pixels.shape[0] > 800 and pixels.shape[1] > 1400
    assert (pixels[..., 0] - pixels[..., 2] > 100).mean() > 0.02  # warm colours
    assert (pixels.min(axis=2) == 255).mean() > 0.05  # paper


def test_the_same_slice_gives_the_same_bytes(explained, tiny_bundle, case, tmp_path):
    folder, _ = explained

    explain(ExplainRequest(tiny_bundle, case, tmp_path / "again", slice_number=3, device="cpu", threads=1))

    for name in ("figure.png", "maps.npz", "explanation.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_dicom_and_nifti_by_command_and_nothing_of_the_patient(tiny_bundle, tmp_path, capsys):
    write_series(tmp_path / "in", slices=5)
    hu = np.random.default_rng(0).normal(40, 300, (1, 70, 64)).astype(np.int16)
    write_nifti(tmp_path / "v.nii", hu, np.diag([0.7, 0.7, 3, 1]))

    for source, out, more in (("in", "a", ("--stage", "7")), ("v.nii", "b", ())):
        arguments = ("explain", tiny_bundle, tmp_path / source, tmp_path / out, "--device", "cpu", *more)
        assert run([str(argument) for argument in arguments]) == ExitCode.DONE

    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/a: slice 3 of 5 explained",
        f"{tmp_path}/b: slice 1 of 1 explained",
    ]
    text = (tmp_path / "a" / "explanation.json").read_text()
    assert PATIENT_ID not in text and PATIENT_NAME.split("^")[0] not in text and str(tmp_path) not in text
    with np.load(tmp_path / "b" / "maps.npz") as maps:
        assert maps["grad_cam_stage7"].shape == (70, 64)


def test_padding_has_no_part_in_the_maps(tiny_bundle, case):
    denoiser = Denoiser(read_bundle(tiny_bundle), torch.device("cpu"))
    volume = read_case(case)
    hu, padded = volume.hu[:1].copy(), np.zeros((1, 128, 128), dtype=bool)
    padded[:, :20] = True
    hu[padded] = -3024

    found = explained_slice(denoiser, Volume(hu, volume.affine, np.zeros(1), Padding.of(padded)))

    assert not found.region[:20].any()
    for kind in KINDS:
        for one in found.shown[kind].values():
            assert (one[:20] == 0).all()
            assert one[20:].min() == 0
            assert one[20:].max() in (0, 1)  # 0 where features only speak against the change
    assert any(one.max() == 1 for maps in found.shown.values() for one in maps.values())
    with pytest.raises(InputError, match="only the scanner's padding"):
        explained_slice(denoiser, replace(volume, hu=hu, positions_mm=np.zeros(1), padding=Padding.of(padded | True)))


def test_a_slice_without_a_body_is_asked_about_as_a_whole(tiny_bundle):
    denoiser = Denoiser(read_bundle(tiny_bundle), torch.device("cpu"))
    air = np.random.default_rng(0).normal(-990, 5, (1, 64, 64)).astype(np.float32)

    found = explained_slice(denoiser, Volume(air, np.eye(4), np.zeros(1)))

    assert found.region_name == "slice"
    assert found.region.all()


def test_what_can_not_be_explained_is_said(tiny_bundle, tiny_cases, case, tmp_path):
    def ask(**changes):
        explain(ExplainRequest(**({"bundle": tiny_bundle, "source": case, "out": tmp_path / "o"} | changes)))

    with pytest.raises(UsageError, match="has no slice 5; give a --slice from 1 to 4"):
        ask(slice_number=5)
    with pytest.raises(InputError, match="holds 2 series where one is wanted"):
        ask(source=tiny_cases / "cases" / "P1")
    with pytest.raises(InputError, match=r"card\.json"):
        ask(bundle=case)
    assert not (tmp_path / "o").exists()


def test_only_an_earlier_explanation_is_replaced(explained, tiny_bundle, case, tmp_path):
    request = ExplainRequest(tiny_bundle, case, tmp_path / "out", device="cpu", overwrite=True)
    explain(request)
    assert explain(request)["slice"]["number"] == 2  # the middle one of four
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()

    with pytest.raises(InputError, match="didn't write"):
        explain(replace(request, out=tmp_path / "photos"))
    with pytest.raises(InputError, match="add --overwrite"):
        explain(replace(request, overwrite=False))


def test_a_network_without_attention_shows_what_enters_its_last_convolution(case, tmp_path):
    bundle = write_small_bundle(tmp_path / "model", "grouped_resnet.GroupedResNet", channels=8, blocks=1, groups=2)

    found = explain(ExplainRequest(bundle, case, tmp_path / "out", slice_number=2, device="cpu", threads=1))

    denoised = Denoiser(read_bundle(bundle), torch.device("cpu")).denoise(read_case(case))[1]
    assert (found["shown"], list(found["ranges"])) == ("last", ["grad_cam"])
    assert found["grad_cam"]["features"] == "what enters the last convolution"
    with np.load(tmp_path / "out" / "maps.npz") as maps:
        assert set(maps) == {"input_hu", "denoised_hu", "grad_cam"}
        assert np.array_equal(maps["denoised_hu"], denoised)
        assert [float(maps["grad_cam"].min()), float(maps["grad_cam"].max())] == pytest.approx(
            found["ranges"]["grad_cam"]["last"], rel=1e-5
        )
    with Image.open(tmp_path / "out" / "figure.png") as picture:
        assert picture.width > 2 * picture.height  # three panels in one row
    with pytest.raises(UsageError, match="has no stage 3 of attention; leave --stage away"):
        explain(ExplainRequest(bundle, case, tmp_path / "no", stage="3", device="cpu"))


def test_a_slice_is_explained_amid_its_true_neighbours(case, tmp_path):
    bundle = write_small_bundle(tmp_path / "model", "cpce.Cpce3d", context=2, channels=4, shortcut=True)
    denoiser, volume = Denoiser(read_bundle(bundle), torch.device("cpu")), read_case(case)

    found = explained_slice(denoiser, volume, 1)

    assert np.array_equal(found.denoised_hu, denoiser.denoise(volume)[1])
    around = volume.hu[[0, 0, 1, 2, 3]].astype(np.float32)  # the end of the volume is repeated
    image = torch.from_numpy(((around + 1024) / 4096).clip(0, 1))[None]
    expected = grad_cam(denoiser.network, image, region=torch.from_numpy(found.region)[None, None])
    assert np.allclose(found.maps["grad_cam"]["last"], expected[0], rtol=1e-4, atol=1e-9)


def test_attention_of_other_networks_is_shown_by_stages_of_their_own(case, tmp_path):
    network = "perceptual_attention_cycle_gan.PerceptualAttentionGenerator"
    bundle = write_small_bundle(tmp_path / "model", network, channels=4, levels=3, blocks=1)
    request = ExplainRequest(bundle, case, tmp_path / "out", stage="2", device="cpu", threads=1)

    assert explain(request)["shown"] == "2"

    with np.load(tmp_path / "out" / "maps.npz") as maps:
        assert {"spatial_stage1", "combined_stage2", "grad_cam_stage2", "grad_cam_fused"} <= set(maps)
    with pytest.raises(UsageError, match="has no stage 7 of attention; give one of 1, 2, fused"):
        explain(replace(request, stage="7", out=tmp_path / "no"))


def test_a_filter_is_refused_in_one_sentence(case, tmp_path):
    bundle = write_small_bundle(tmp_path / "model", "classical.NonLocalMeans")

    with pytest.raises(InputError, match="has no convolution whose features could be differentiated, so there is noth"):
        explain(ExplainRequest(bundle, case, tmp_path / "out", device="cpu"))
    assert not (tmp_path / "out").exists()
