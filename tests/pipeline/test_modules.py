"""Every process is a call of the command line and nothing else: tagged, labelled, with a stub and its version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nextflow_run import REPOSITORY

MODULES = sorted((REPOSITORY / "modules").glob("*.nf"))
SCRIPT = re.compile(r'script:.*?"""\n(?P<text>.*?)"""', re.DOTALL)
SEVERAL_CALLS = {"ingest"}  # both doses of a patient in one task


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_process_has_tag_label_stub_version_and_one_call(module: Path) -> None:
    text = module.read_text()
    assert re.findall(r"^process (\w+) \{", text, re.MULTILINE) == [module.stem.upper()]
    for wanted in (r"^    tag ", r"^    label '(io|cpu_small|cpu|gpu)'$", r"^    stub:$"):
        assert len(re.findall(wanted, text, re.MULTILINE)) == 1, wanted
    assert "tuple val(task.process), eval('ldctpipe --version'), emit: versions" in text
    commands = re.findall(r"^    (ldctpipe [\w-]+)", SCRIPT.search(text)["text"], re.MULTILINE)
    assert len(commands) == 1 or module.stem in SEVERAL_CALLS
    assert len(set(commands)) == 1


def test_every_process_is_used() -> None:
    workflows = "".join(path.read_text() for path in (REPOSITORY / "workflows").glob("*.nf"))
    assert not [module.stem for module in MODULES if f"modules/{module.name}'" not in workflows]
