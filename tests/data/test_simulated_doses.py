"""A store for a range of doses: its noise is that of the dose simulation, and training draws from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ldctpipe.data.preparation import prepare_store
from ldctpipe.data.simulated_doses import SimulatedDoses
from ldctpipe.data.store import NOISE_UNIT_HU, open_store
from ldctpipe.errors import InputError
from ldctpipe.simulation.calibrated_scan import Overrides, calibrated_scan
from ldctpipe.simulation.exposure import DoseRange, Exposure
from ldctpipe.simulation.noise_components import ELECTRONIC, QUANTUM, NoiseComponents
from ldctpipe.simulation.reduction import reduced
from ldctpipe.volumes.volume import Acquisition, Volume

DOSES = DoseRange(0.1, 0.4)


def water(slices: int = 6, side: int = 128) -> Volume:
    line = (np.arange(side) - side / 2) * 2.0
    disc = np.hypot(line[:, None], line[None]) < 110
    hu = np.where(disc, 0, -1000).astype(np.float32)[None].repeat(slices, axis=0)
    return Volume(
        hu,
        np.diag([-2.0, -2.0, 3.0, 1.0]),
        np.arange(slices) * 3.0,
        acquisition=Acquisition(kernel="B30f", slice_thickness_mm=3.0),
        key="water",
    )


@pytest.mark.parametrize("dose", [0.1, 0.25])
@pytest.mark.parametrize("electronic", [7e-5, 3e-3])
def test_weighted_images_have_the_noise_of_the_simulation(dose, electronic):
    scan = calibrated_scan(water(), Overrides(quanta=3e6, cutoff_per_mm=0.775, electronic_ratio=electronic))
    images = np.stack(list(NoiseComponents(scan, seed=5, realisations=2, lowest_dose=0.1).images()))
    quantum, electric = np.sqrt(1 / dose - 1), np.sqrt(1 / dose**2 - 1)

    weighted = quantum * images[:, :, QUANTUM] + electric * images[:, :, ELECTRONIC]
    simulated = reduced(scan, Exposure(dose), seed=9).hu - scan.volume.hu

    middle = np.s_[..., 44:84, 44:84]
    assert weighted[middle].std() == pytest.approx(simulated[middle].std(), rel=0.03)
    edge = np.s_[..., 54:74, 18:26]
    assert weighted[edge].std() == pytest.approx(simulated[edge].std(), rel=0.1)


def test_a_store_has_noise_for_every_slice_and_the_middle_dose_in_its_pairs(tiny_cases: Path, tmp_path: Path):
    prepare_store(tiny_cases / "sheet.csv", tmp_path / "store", simulated=SimulatedDoses(DOSES, realisations=3))

    store = open_store(tmp_path / "store")

    assert store.noise is not None
    assert store.noise.shape == (8, 3, 2, 128, 128)
    assert store.description["simulated"]["dose_of_pairs"] == pytest.approx(0.2)
    body = store.pairs[:, 1] > -500
    added = (store.pairs[:, 0] - store.pairs[:, 1])[body]
    quantum = store.noise[:, 0, QUANTUM][body] * NOISE_UNIT_HU
    assert added.std() == pytest.approx(quantum.std() * np.sqrt(1 / 0.2 - 1), rel=0.15)
    assert np.array_equal(store.pairs[:, 1], open_store(_plain(tiny_cases, tmp_path)).pairs[:, 1])


def test_the_same_seed_gives_the_same_store(tiny_cases: Path, tmp_path: Path):
    prints = []
    for name, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        simulated = SimulatedDoses(DOSES, 1, seed, threads)
        prints.append(prepare_store(tiny_cases / "sheet.csv", tmp_path / name, simulated=simulated)["sha256"])

    assert prints[0] == prints[1] != prints[2]


def test_full_dose_alone_is_enough(tiny_cases: Path, tmp_path: Path):
    full = tiny_cases / "cases" / "P1" / "full_dose"
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"patient,low_dose,full_dose,split\nP1,,{full},train\n")

    with pytest.raises(InputError, match="no low-dose scan"):
        prepare_store(sheet, tmp_path / "plain")
    prepare_store(sheet, tmp_path / "store", simulated=SimulatedDoses(DOSES, 1))

    assert len(open_store(tmp_path / "store").pairs) == 4


def _plain(cases: Path, folder: Path) -> Path:
    prepare_store(cases / "sheet.csv", folder / "plain")
    return folder / "plain"
