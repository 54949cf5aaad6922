"""The page: whole, self-contained, safe, and honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, InputError
from ldctpipe.metrics.samples import Sample, read_samples, write_samples
from ldctpipe.reporting.page import write_report

MOST_BYTES = 5_000_000
REMOTE = re.compile(r"""(?:src|href|url\()\s*=?\s*["'(]?\s*(?:https?:|//|file:)""", re.IGNORECASE)


class Outline(HTMLParser):
    """Collects what a browser would see: tags with attributes, and the text of the page without scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["script"], ["style"]):
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass


def page(folder: Path) -> tuple[str, Outline]:
    write_report(folder, folder / "report.html")
    html = (folder / "report.html").read_text(encoding="utf-8")
    return html, Outline(html)


def test_it_shows_the_figures_of_the_summary_beside_the_published(full_run):
    _, outline = page(full_run)
    summary = json.loads((full_run / "metrics" / "summary.json").read_text())
    gain = summary["gains"]["wgan-gp-effnetv2-mini"]["psnr_db"]["mean"]
    assert gain > 3
    assert f"+{gain:.2f}" in outline.text
    assert "33.24 ± 0.15" in outline.text and "not comparable" in outline.text
    assert "contradict each other" in outline.text
    assert "5 min 12 s" in outline.text and "6,123,456" in outline.text and "0123abc" in outline.text
    assert "3 mm" in outline.text and "0.664 to 0.8457 mm" in outline.text


def test_feature_distances_stand_beside_the_published_where_they_were_measured(full_run):
    _, without = page(full_run)
    assert "0.0104" not in without.text and "17.2 ± 1.1" in without.text
    path = full_run / "metrics" / "summary.json"
    summary = json.loads(path.read_text())
    methods = {"low_dose": {"kid": 0.0312, "fid": 41.23}, "wgan-gp-effnetv2-mini": {"kid": 0.0104, "fid": 12.34}}
    path.write_text(json.dumps(summary | {"feature_distances": {"methods": methods}}))
    _, outline = page(full_run)
    assert all(figure in outline.text for figure in ("KID", "0.0312", "41.23", "0.0104", "12.34", "17.2 ± 1.1"))


def test_the_endpoints_are_named_beside_the_figures(full_run):
    _, outline = page(full_run)
    assert "Primary endpoint, PSNR minus that of low_dose" in outline.text
    assert "Safety endpoint, mean bias of soft tissue over patients within ±1 HU" in outline.text
    assert "no test: a paired test of one comparison needs at least 6 patients, there are 1" in outline.text


def test_a_summary_of_the_first_format_is_still_shown(full_run):
    """It had percentile intervals, tests without their smallest p, and neither endpoints nor comparisons."""
    path = full_run / "metrics" / "summary.json"
    summary = json.loads(path.read_text())
    for name in ("endpoints", "comparisons", "equivalence", "intervals", "st_lpips"):
        del summary[name]
    test = {"test": "Wilcoxon", "measure": "psnr_db", "method": "m", "baseline": "low_dose", "n_patients": 6,
            "median_difference": 3.21, "p": 0.03125, "p_holm": 0.03125}  # fmt: skip
    bootstrap = {"unit": "patient", "resamples": 10_000, "level": 0.95, "seed": 7}
    old = {"format": "ldctpipe-evaluation@1", "tests": [test], "bootstrap": bootstrap}
    path.write_text(json.dumps(summary | old))
    _, outline = page(full_run)
    assert "percentile bootstrap, 10000 resamples, seed 7" in outline.text
    assert "+3.21" in outline.text and "0.0312" in outline.text
    assert "endpoint" not in outline.text.lower()


def test_warnings_come_before_any_figure(full_run):
    _, outline = page(full_run)
    assert outline.text.index("Measured on one patient") < outline.text.index("PSNR (dB)")
    assert "perceptual term was left out" in outline.text and "mini recipe" in outline.text


def test_nothing_is_fetched_from_anywhere(full_run):
    html, outline = page(full_run)
    assert not REMOTE.search(html)
    assert all(not (attributes.get("src") or "").startswith("http") for _, attributes in outline.tags)
    assert len(html.encode()) < MOST_BYTES


def test_the_policy_allows_its_own_style_and_script_only(full_run):
    _, outline = page(full_run)
    (policy,) = [a["content"] for tag, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    inline = [a for _, a in outline.tags if "style" in a or any(name.startswith("on") for name in a)]
    assert inline == []


def test_it_reads_well_with_a_screen_reader(full_run):
    _, outline = page(full_run)
    assert all(attributes.get("alt") for tag, attributes in outline.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in outline.tags if tag == "th")
    pictures = [attributes for tag, attributes in outline.tags if tag == "svg"]
    assert pictures and all(picture.get("aria-label") for picture in pictures)
    tables = sum(tag == "table" for tag, _ in outline.tags)
    assert tables == sum(tag == "caption" for tag, _ in outline.tags) > 3
    assert [tag for tag, _ in outline.tags if tag == "h1"] == ["h1"]


def test_hostile_names_stay_text(full_run):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    summary_file = full_run / "metrics" / "summary.json"
    text = summary_file.read_text().replace('"L004"', json.dumps(hostile))
    summary = json.loads(text)
    summary["warnings"] = [hostile]
    summary_file.write_text(json.dumps(summary))
    card_file = full_run / "model" / "card.json"
    card = json.loads(card_file.read_text())
    card["title"], card["notes"] = hostile, [hostile]
    card_file.write_text(json.dumps(card))
    samples_file = full_run / "metrics" / "samples.npz"
    write_samples(samples_file, [replace(sample, patient=hostile) for sample in read_samples(samples_file)])

    html, outline = page(full_run)

    assert "<script>alert" not in html and hostile in outline.text
    assert sum(tag == "script" for tag, _ in outline.tags) == 2
    assert not [tag for tag, attributes in outline.tags if "onerror" in attributes]


def test_a_run_without_model_says_so(bare_run):
    _, outline = page(bare_run)
    assert "model/training.csv is missing: no loss curves" in outline.text
    assert "33.24 ± 0.15" in outline.text


def test_a_model_without_evaluation_says_so(full_run):
    shutil.rmtree(full_run / "metrics")
    _, outline = page(full_run)
    assert "metrics/summary.json is missing" in outline.text
    assert "5 min 12 s" in outline.text


@pytest.mark.parametrize("part", ["slices.csv", "samples.npz"])
def test_each_part_of_the_evaluation_may_be_missing(full_run, part):
    (full_run / "metrics" / part).unlink()
    _, outline = page(full_run)
    assert f"metrics/{part} is missing" in outline.text


def test_another_protocol_is_not_shown_beside_the_published_figures(full_run):
    summary_file = full_run / "metrics" / "summary.json"
    summary = json.loads(summary_file.read_text())
    summary["protocol"] = "full-range@1"
    summary_file.write_text(json.dumps(summary))
    _, outline = page(full_run)
    assert "RED-CNN" not in outline.text


def test_many_large_slices_stay_under_five_megabytes(full_run):
    random = np.random.default_rng(1)
    noise = random.normal(40, 40, (12, 3, 512, 512)).astype(np.int16)
    samples = [Sample(f"P{n % 3}", "s", float(n), (0.7, 0.7), hu) for n, hu in enumerate(noise)]
    write_samples(full_run / "metrics" / "samples.npz", samples)
    html, _ = page(full_run)
    assert len(html.encode()) < MOST_BYTES


def test_the_same_run_gives_the_same_page(full_run):
    assert page(full_run)[0] == page(full_run)[0]


def test_the_command_prints_the_table(full_run, capsys):
    assert run(["report", str(full_run), str(full_run / "report.html")]) == ExitCode.DONE
    assert "wgan-gp-effnetv2-mini" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics/summary.json", "{"),
        ("metrics/summary.json", '{"format": "other"}'),
        ("metrics/samples.npz", "no"),
        ("metrics/slices.csv", ""),
        ("model/card.json", "[]"),
        ("model/recipe.yaml", "a: [1"),
    ],
)
def test_a_damaged_part_is_named(full_run, name, content):
    (full_run / name).write_text(content)
    with pytest.raises(InputError, match=Path(name).name):
        write_report(full_run, full_run / "report.html")
    assert not (full_run / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither"):
        write_report(tmp_path, tmp_path / "report.html")


def test_the_pipelines_record_is_shown_without_its_paths(full_run):
    record = {
        "started": "2026-11-21T10:00:00Z",
        "command_line": "nextflow run --input /home/doe/ct",
        "pipeline": {"version": "9.9"},
    }
    (full_run / "run.json").write_text(json.dumps(record))
    _, outline = page(full_run)
    assert "2026-11-21T10:00:00Z" in outline.text and "9.9" in outline.text
    assert "/home/doe" not in outline.text
