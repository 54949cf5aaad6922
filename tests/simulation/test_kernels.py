"""What the kernels of the vendors mean."""

from __future__ import annotations

import math

import pytest
import torch

from ldctpipe.simulation.kernels import DEFAULT_CUTOFF_PER_MM, apodisation, is_iterative, match_kernel


@pytest.mark.parametrize(
    ("name", "cutoff_per_mm"), [("B30f", 0.775), ("B30s", 0.775), ("Br30", 0.775), ("D45", 1.87), ("I30f\\3", 0.775)]
)
def test_published_cutoffs_are_found_under_every_spelling(name: str, cutoff_per_mm: float) -> None:
    kernel = match_kernel(name)

    assert kernel.known
    assert kernel.cutoff_per_mm == pytest.approx(cutoff_per_mm)


@pytest.mark.parametrize(
    "from_soft_to_sharp",
    [
        ["B10f", "B20f", "B31f", "B40f", "B50f", "B60f", "B70f", "B80f"],
        ["SOFT", "STANDARD", "DETAIL", "LUNG", "BONE", "BONEPLUS", "EDGE"],
        ["A", "B", "C", "D"],
        ["YA", "YB", "YC", "YD"],
        ["FC08", "FC13", "FC52", "FC81"],
    ],
)
def test_kernels_get_sharper_in_the_order_of_their_vendor(from_soft_to_sharp: list[str]) -> None:
    cutoffs = [match_kernel(name).cutoff_per_mm for name in from_soft_to_sharp]

    assert all(match_kernel(name).known for name in from_soft_to_sharp)
    assert cutoffs == sorted(set(cutoffs))


@pytest.mark.parametrize("name", [None, "", "OWN-17"])
def test_an_unknown_kernel_is_medium_soft_and_says_so(name: str | None) -> None:
    kernel = match_kernel(name)

    assert not kernel.known
    assert kernel.cutoff_per_mm == DEFAULT_CUTOFF_PER_MM


@pytest.mark.parametrize(("name", "iterative"), [("I30f", True), ("J40s", True), ("B30f", False), ("STANDARD", False)])
def test_iterative_reconstruction_is_recognised(name: str, iterative: bool) -> None:
    assert match_kernel(name).iterative is iterative


def test_half_of_the_modulation_of_b30_is_at_0_39_line_pairs_per_mm() -> None:
    frequencies = torch.tensor([0.0, 0.3875, 0.775, 1.0])

    assert apodisation(frequencies, 0.775).tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("header", "iterative"),
    [
        ("Br40d/3", False),
        ("Br40-3 ADMIRE", True),
        ("I30f/3", True),
        ("Qr40d/4", True),
        ("STANDARD | ASIR-V 40%", True),
        ("AR40 ASiR", True),
        ("DLIR-H", True),
        ("TrueFidelity", True),
        ("iDose (4)", True),
        ("FC08 AIDR 3D STD", True),
        ("FIRST Body", True),
        ("AiCE Body Sharp", True),
        ("first pass of the chest", False),
        ("Basic standard", False),
        ("SS_ASIA ROUTINE", False),
    ],
)
def test_reconstruction_is_recognised_in_header_text(header: str, iterative: bool) -> None:
    assert is_iterative(header) is iterative


@pytest.mark.parametrize(
    ("name", "like"), [("HD LUNG", "LUNG"), ("FC17/IMPROVED", "FC17"), ("Bf37f", "B37f"), ("UB", "B"), ("FL04", "FC04")]
)
def test_variants_of_a_name_mean_the_same_kernel(name: str, like: str) -> None:
    assert match_kernel(name).known
    assert match_kernel(name).cutoff_per_mm == match_kernel(like).cutoff_per_mm


@pytest.mark.parametrize("power", [0.6, 1.0, 2.0, 8.0])
def test_every_window_is_one_half_at_half_its_cutoff(power: float) -> None:
    window = apodisation(torch.tensor([0.0, 0.4], dtype=torch.float64), 0.8, window_power=power)

    assert window.tolist() == pytest.approx([1.0, 0.5], abs=1e-6)


def test_high_powers_of_a_window_come_close_to_a_gaussian() -> None:
    frequencies = torch.linspace(0, 1, 21, dtype=torch.float64)

    window = apodisation(frequencies, 0.8, window_power=60.0)

    assert torch.allclose(window, torch.exp(-math.log(2) * (frequencies / 0.4) ** 2), atol=0.005)
