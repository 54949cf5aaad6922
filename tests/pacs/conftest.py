"""Fixtures of the PACS tests: a real Orthanc, and series of ours to send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orthanc as server
import pytest
from brighter import derive
from orthanc import Orthanc
from small_dicom import write_series

from ldctpipe.dicom import dicomweb, pacs

CREDENTIALS = (dicomweb.USER, dicomweb.PASSWORD, dicomweb.TOKEN)


@pytest.fixture
def orthanc_of(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """A function that starts an Orthanc; all are stopped at the end. Skips, and says so, where there is none."""
    if reason := server.missing():
        pytest.skip(reason)
    started: list[Orthanc] = []

    def start(**options: dict[str, str]) -> Orthanc:
        started.append(Orthanc(tmp_path / f"orthanc{len(started)}", **options))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def orthanc(orthanc_of: Callable[..., Orthanc]) -> Orthanc:
    """A running Orthanc that lets everybody in."""
    return orthanc_of()


@pytest.fixture(autouse=True)
def _no_credentials_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*CREDENTIALS, "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without waiting, and answers wanted within half a second."""
    monkeypatch.setattr(dicomweb, "_BACK_OFF_S", 0.01)
    monkeypatch.setattr(pacs, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(pacs, "TIMEOUTS_S", (0.5, 0.5))


@pytest.fixture
def ours(tmp_path: Path) -> list[Path]:
    """Six images of one derived series."""
    return derive(write_series(tmp_path / "source", slices=6), tmp_path / "derived")
