"""The fixture that runs the pipeline in a test's own folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from nextflow_run import Run, run_nextflow


@pytest.fixture
def nextflow(tmp_path: Path) -> Callable[..., Run]:
    """A function that runs the pipeline with these arguments in the test's own folder."""
    return lambda *arguments: run_nextflow(tmp_path, *arguments)
