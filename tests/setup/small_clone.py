"""A small clone whose Python, packages and Maven are stand-ins, so that set-up is tested without a network."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = (
    "awk", "bash", "cat", "chmod", "cmp", "cp", "cut", "df", "dirname", "env", "flock", "grep", "head", "ls", "make",
    "mkdir", "mv", "printf", "readlink", "rm", "sed", "sha256sum", "sleep", "sort", "stat", "tail", "touch",
)  # fmt: skip

# A Python that can make an environment, in which each program writes down that it was called.
PYTHON = """#!/usr/bin/env bash
[[ "$*" != *sys.exit* ]] || exit 0
[[ $1 == -m ]] || exit 0
[[ $2 != compileall ]] || { echo "$*" >> "$COMPILED"; exit 1; }
mkdir -p "$3/bin"
cp "$0" "$3/bin/python"
for program in pip uv ldctpipe; do
    printf '#!/usr/bin/env bash\\necho "%s $*" >> "$CALLS"\\n[[ ! -f $FAIL ]] || exit 1\\n' $program > "$3/bin/$program"
    chmod +x "$3/bin/$program"
done
"""


@dataclass(frozen=True)
class Clone:
    """A copy of the files that set-up consists of, with a PATH that holds nothing but what a test puts there."""

    root: Path
    programs: Path

    def add_program(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": str(self.programs), "HOME": os.environ.get("HOME", "/"), "CALLS": str(self.calls_file),
            "FAIL": str(self.root / "fail"), "COMPILED": str(self.root / "compiled"),
        }  # fmt: skip

    @property
    def calls_file(self) -> Path:
        return self.root / "calls"

    def compiled(self) -> list[str]:
        """Return what was compiled since the last question, as the last word of each call."""
        lines = (self.root / "compiled").read_text().splitlines()
        (self.root / "compiled").unlink()
        return [line.split()[-1].removeprefix(f"{self.root}/") for line in lines]

    def calls(self) -> list[str]:
        """Return what pip, uv and ldctpipe were called with since the last question."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return [line for line in lines if "config list" not in line]
