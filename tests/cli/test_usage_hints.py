"""What a mistyped command line gets: what was meant, and a help command that works."""

from __future__ import annotations

import re

import pytest

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode


@pytest.mark.parametrize(
    ("arguments", "command", "meant"),
    [
        ("denois in out", "ldctpipe", "'denoise'"),
        ("denois --help", "ldctpipe", "'denoise'"),
        ("cohort plna", "ldctpipe cohort", "'plan'"),
        ("cohort", "ldctpipe cohort", ""),
        ("cohort denoise --blnd 1", "ldctpipe cohort denoise", "--blend"),
        ("denoise in out", "ldctpipe denoise", "--model"),
        ("cohort plan --staged", "ldctpipe cohort plan", "--staged"),
        ("--nonsense", "ldctpipe", ""),
    ],
)
def test_the_help_that_is_named_works(capsys, arguments: str, command: str, meant: str) -> None:
    assert run(arguments.split()) == ExitCode.USAGE

    (line,) = capsys.readouterr().err.splitlines()
    assert meant in line
    named = re.search(r"\(see (ldctpipe[a-z -]*) --help\)", line)
    assert named
    assert named[1] == command
    assert run([*command.split()[1:], "--help"]) == ExitCode.DONE
