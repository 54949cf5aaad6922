"""Standard output and error in any encoding: signs that it lacks are replaced, and the command ends as it would."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from small_dicom import write_series

from ldctpipe.cli import streams
from ldctpipe.errors import ExitCode


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("latin-1", "1–3 mm, −5 °C, ä", b"1-3 mm, -5 \xb0C, \xe4"),
        ("ascii", "α 2 ± 1 × ß", b"? 2 +/- 1 x ?"),
        ("utf-8", "a\udcff–\ud800", b"a" + b"\xff" + "–?".encode()),
        ("latin-1", "a\udcff", b"a\xff"),
        ("cp1252", "√", b"?"),
    ],
)
def test_signs_that_an_encoding_lacks(encoding, text, expected) -> None:
    streams.replace_unprintable()

    assert text.encode(encoding, errors="ldctpipe.replace") == expected


@pytest.mark.parametrize("setting", [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_a_table_in_another_encoding(tmp_path, setting) -> None:
    write_series(tmp_path / "in", slices=3)
    (tmp_path / "in" / "Größe→.dcm").write_bytes(b"nothing")
    command = [sys.executable, "-m", "ldctpipe.cli.app", "inspect", str(tmp_path / "in"), "--list-skipped"]

    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **setting})

    assert done.returncode == ExitCode.DONE, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"slices" in done.stdout.lower()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_on_any_output_is_the_same_value(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"description": "Schädel – 1 mm", "file": "a\udcff.dcm"}
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    streams.replace_unprintable()

    written = streams.json_text(value).encode(encoding, errors="ldctpipe.replace")

    assert json.loads(written.decode(encoding)) == value
