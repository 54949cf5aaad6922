"""The page in a real browser: no error on the console, and the viewer comes up."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sweep_folder_maker import make_sweep

from ldctpipe.reporting.page import write_report
from ldctpipe.reporting.sweep_page import write_sweep_report

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
)  # fmt: skip
CONSOLE = re.compile(r"CONSOLE.*")


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on PATH to open the page with")
    return found


def opened(browser: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """Return the page's DOM after its script ran, and what the console said."""
    done = subprocess.run(
        [browser, *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, CONSOLE.findall(done.stderr)


@pytest.mark.slow
def test_it_opens_without_a_complaint_and_the_viewer_draws(browser, full_run, tmp_path):
    write_report(full_run, full_run / "report.html")
    dom, console = opened(browser, full_run / "report.html", tmp_path / "profile")
    assert console == []
    assert re.search(r'<div class="viewer" id="viewer">', dom)
    assert re.search(r'id="viewer-status"[^>]*>L004, [\d.]+ mm\. Denoised', dom)


@pytest.mark.slow
def test_the_policy_stops_a_foreign_script(browser, full_run, tmp_path):
    page = full_run / "report.html"
    write_report(full_run, page)
    page.write_text(page.read_text().replace("<main", "<script>document.title = 'taken over'</script><main"))
    dom, console = opened(browser, page, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
    assert "<title>taken over" not in dom


@pytest.mark.slow
def test_the_page_of_a_sweep_opens_without_a_complaint(browser, tmp_path):
    make_sweep(tmp_path, "table1", {})
    write_sweep_report(tmp_path, tmp_path / "sweep.html")
    dom, console = opened(browser, tmp_path / "sweep.html", tmp_path / "profile")
    assert console == []
    assert "33.24 ± 0.15" in dom
