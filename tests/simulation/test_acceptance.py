"""V1–V18: what a medical physicist asks of a dose simulation, each with its limit."""

from __future__ import annotations

import pytest

from ldctpipe.simulation.acceptance import CHECKS
from ldctpipe.simulation.acceptance_bench import Bench


@pytest.mark.parametrize("name", list(CHECKS))
def test_keeps_its_limit(name: str) -> None:
    check = CHECKS[name](Bench())

    assert check.name == name
    assert check.passed, f"{check.title}: {check.measured}, limit {check.limit}"
