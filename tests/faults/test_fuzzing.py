"""Damaged files in every way there is: used, or skipped with a reason; nothing is lost and nothing else is raised."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from corpus import Specimen, corpus, real_corpus, synthetic_series
from fuzz_reading import fuzz, read_damaged, read_written
from mutations import parts_of
from pydicom.uid import ExplicitVRLittleEndian

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore:::pydicom")]
SYNTHETIC = [specimen for specimen in corpus() if specimen not in real_corpus()]


@pytest.mark.parametrize("specimen", SYNTHETIC, ids=lambda specimen: specimen.name.replace(" ", ""))
def test_damaged_synthetic_series(tmp_path: Path, specimen: Specimen) -> None:
    fuzz([specimen], tmp_path / "in", 60, is_repeatable=True)


def test_damaged_real_images(tmp_path: Path, real_data: Path) -> None:
    fuzz(real_corpus(), tmp_path / "in", 150, is_repeatable=True)


@pytest.mark.slow
def test_what_can_be_read_can_be_derived_from(tmp_path: Path) -> None:
    """Reading looks at 45 attributes, writing carries all of them along."""
    series = 0
    for seed in range(120):
        random = Random(seed)
        read_damaged(random.choice(SYNTHETIC), random, tmp_path / "in")
        series += read_written(tmp_path / "in", tmp_path / "out")

    assert series > 150


@pytest.mark.parametrize("specimen", corpus(), ids=lambda specimen: specimen.name)
def test_taking_files_apart_loses_nothing(specimen: Specimen) -> None:
    """Damage to elements means nothing where the elements are not the file's."""
    for content in specimen.files:
        parts = parts_of(content)
        again = parts_of(parts.joined())
        assert again == parts
        assert len(parts.elements) > 20
        assert [parts.tag(element) for element in parts.elements] == sorted(parts.tag(e) for e in parts.elements)


def test_the_target_sees_a_reader_that_loses_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that can't fail finds nothing."""
    import accounting

    from ldctpipe.dicom.discovery import Discovery, discover

    def losing(path: Path, threads: int | None = None) -> Discovery:
        return Discovery(discover(path, threads).series, ())

    monkeypatch.setattr(accounting, "discover", losing)

    with pytest.raises(AssertionError, match="lost silently"):
        fuzz([synthetic_series(ExplicitVRLittleEndian, 1)], tmp_path / "in", 60, is_repeatable=True)
