"""`ldctpipe figure methods`: which images stand side by side, what is written above and below them, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from noisy_body import noisy_body
from PIL import Image
from small_bundle import write_small_bundle
from small_dicom import PATIENT_ID, PATIENT_NAME, write_series

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.metrics.image_quality import image_quality
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.recipes.bundle import read_bundle
from ldctpipe.volumes.nifti import read_nifti, write_nifti


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """The folder of low.nii and full.nii (8 slices, stored as people see them), and of the bundles resnet and cpce."""
    folder = tmp_path_factory.mktemp("methods")
    for name, hu in zip(("low", "full"), noisy_body(slices=8, side=96, seed=1), strict=True):
        write_nifti(folder / f"{name}.nii", hu, np.diag([-0.7, -0.7, 3.0, 1.0]))
    write_small_bundle(
        folder / "resnet", "grouped_resnet.GroupedResNet", title="A ResNet", channels=8, blocks=1, groups=2
    )
    write_small_bundle(
        folder / "cpce", "cpce.Cpce3d", title="CPCE-3D", caution="not for use", context=2, channels=4, shortcut=True
    )
    return folder


def draw(scans: Path, out: Path, *options: object) -> int:
    models = [f"--model={scans / name}" for name in ("resnet", "cpce")]
    return run([str(each) for each in ("figure", "methods", scans / "low.nii", out, *models, *options, "--device=cpu")])


def words_of(svg: Path) -> list[str]:
    return [word.strip() for word in re.findall(r"<!--(.*?)-->", svg.read_text())]


def test_methods_stand_side_by_side_in_the_order_given(scans, tmp_path, capsys):
    assert draw(scans, tmp_path / "f.svg") == ExitCode.DONE

    assert capsys.readouterr().out == f"{tmp_path}/f.svg: 2 methods on slice 4 of 8\n"
    words = words_of(tmp_path / "f.svg")
    assert words[:3] == ["Low dose", "A ResNet", "CPCE-3D"]
    assert "Slice 4 of 8 at 9.0 mm, window −160 to 240 HU;" in " ".join(words)
    assert "CPCE-3D: not for use" in " ".join(words)
    assert "dB" not in " ".join(words)
    assert (tmp_path / "f.svg").read_text().count("<image") == 6


def test_each_is_measured_on_the_slice_where_there_is_a_full_dose(scans, tmp_path):
    options = ("--reference", scans / "full.nii", "--slice", 2, "--protocol", "full-range")

    assert draw(scans, tmp_path / "f.svg", *options) == ExitCode.DONE

    words, protocol = " ".join(words_of(tmp_path / "f.svg")), find_protocol("full-range")
    low, full = (read_nifti(scans / f"{name}.nii") for name in ("low", "full"))
    denoisers = [Denoiser(read_bundle(scans / name), torch.device("cpu")) for name in ("resnet", "cpce")]
    for hu in (low.hu[1], *(denoiser.denoise(low)[1] for denoiser in denoisers)):
        found = image_quality(hu, full.hu[1], np.ones((96, 96), dtype=bool), protocol)
        assert f"{found.psnr_db:.2f} dB, SSIM {found.ssim:.3f}, RMSE {found.rmse_hu:.1f} HU" in words
    assert "Full dose" in words and "full-range@1" in words


def test_the_region_is_the_one_asked_for(scans, tmp_path):
    for name, options in {"a": ("--roi", "10,20,30"), "b": ("--roi", "10,20,30", "--window", "-1000,1000")}.items():
        assert draw(scans, tmp_path / f"{name}.png", *options) == ExitCode.DONE
    assert draw(scans, tmp_path / "f.svg", "--roi", "10,20,30") == ExitCode.DONE
    assert draw(scans, tmp_path / "again.png", "--roi", "10,20,30") == ExitCode.DONE

    assert "(row 10, column 20, side 30)" in " ".join(words_of(tmp_path / "f.svg"))
    first, other = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in "ab")
    assert first.shape == other.shape and not np.array_equal(first, other)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_bundles_of_one_title_are_told_apart(scans, tmp_path):
    model = ("--model", scans / "resnet")
    other = write_small_bundle(tmp_path / "o", "grouped_resnet.GroupedResNet", title="A ResNet", channels=8, seed=1)

    assert draw(scans, tmp_path / "f.svg", *model, "--model", other) == ExitCode.DONE

    titles = [f"A ResNet ({read_bundle(folder).weights_sha256[:6]})" for folder in (scans / "resnet", other)]
    words = words_of(tmp_path / "f.svg")
    assert words[1:5] == [titles[0], "CPCE-3D", f"{titles[0]}, again", titles[1]]


def test_nothing_of_the_patient_is_in_it(scans, tmp_path):
    write_series(tmp_path / "in", slices=3)
    arguments = ("figure", "methods", tmp_path / "in", tmp_path / "f.svg", "--model", scans / "cpce", "--device", "cpu")

    assert run([str(argument) for argument in arguments]) == ExitCode.DONE

    text = (tmp_path / "f.svg").read_text()
    assert PATIENT_ID not in text and PATIENT_NAME.split("^")[0] not in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--slice", 9), "has no slice 9; give a --slice from 1 to 8"),
        (("--roi", "80,0,30"), "reaches beyond the slice of 96 × 96 pixels"),
        (("--roi", "a,0,30"), "--roi a,0,30 is not ROW,COLUMN,SIZE"),
        (("--roi", "0,30"), "--roi 0,30 is not ROW,COLUMN,SIZE"),
        (("--window", "240,-160"), "--window 240,-160 is not LOW,HIGH"),
        (("--window", "nan,3"), "--window nan,3 is not LOW,HIGH"),
        (("--protocol", "none"), "there is no protocol 'none'"),
    ],
)
def test_what_can_not_be_drawn_is_said(scans, tmp_path, capsys, options, said):
    assert draw(scans, tmp_path / "f.png", *options) == ExitCode.USAGE

    assert said in capsys.readouterr().err
    assert not (tmp_path / "f.png").exists()


def test_another_scan_is_no_reference(scans, tmp_path, capsys):
    write_nifti(tmp_path / "other.nii", noisy_body(slices=8, side=64, seed=1)[1], np.diag([-0.7, -0.7, 3.0, 1.0]))

    assert draw(scans, tmp_path / "f.png", "--reference", tmp_path / "other.nii") == ExitCode.INPUT

    assert "has no matching low-dose series" in capsys.readouterr().err
    assert draw(scans, tmp_path / "f.txt") == ExitCode.USAGE
