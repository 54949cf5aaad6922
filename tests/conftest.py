"""Fixtures that tests of every room share."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT beside the checkout; tests that need it are skipped, and say so, where it is not there."""
    folder = REPOSITORY.parent / "shared" / "data" / "raw"
    if not folder.is_dir():
        pytest.skip("real CT (../shared/data/raw) is not beside this checkout")
    return folder
