"""Which values are refused as HU, in NIfTI and in DICOM, and which volumes of a CT are odd but right."""

from __future__ import annotations

import numpy as np
import pytest

from ldctpipe.volumes.plausibility import hu_fault, scale_fault

RANDOM = np.random.default_rng(0)


def body_hu() -> np.ndarray:
    """Half air, half soft tissue, with some bone."""
    hu = np.concatenate([RANDOM.normal(-1000, 10, 5000), RANDOM.normal(40, 15, 5000), RANDOM.normal(900, 200, 50)])
    return hu.astype(np.float32)


def test_standardised_values_are_refused() -> None:
    hu = body_hu()

    assert "normalised" in (hu_fault((hu - hu.mean()) / hu.std()) or "")
    assert "normalised" in (hu_fault(hu / 1000) or "")


def test_values_with_neither_air_nor_tissue_are_refused() -> None:
    assert "neither air" in (hu_fault(RANDOM.uniform(300, 700, 1000)) or "")
    assert "neither air" in (scale_fault(RANDOM.uniform(-290, -210, 1000)) or "")


@pytest.mark.parametrize(
    "hu",
    [
        body_hu(),
        np.rint(RANDOM.normal(0, 8, 5000)),  # the middle of a water phantom
        RANDOM.normal(35, 5, 5000).clip(0, 80),  # a brain without its surroundings
        np.append(body_hu(), [40000.0, -30000.0]),  # metal on an extended scale
        np.concatenate([np.full(9000, -1024.0), RANDOM.normal(40, 10, 1000)]),
    ],
)
def test_odd_volumes_of_a_ct_pass_the_rule_of_both_formats(hu: np.ndarray) -> None:
    assert scale_fault(hu) is None


def test_a_water_phantom_is_no_normalised_volume() -> None:
    assert hu_fault(np.rint(RANDOM.normal(0, 8, 5000))) is None
