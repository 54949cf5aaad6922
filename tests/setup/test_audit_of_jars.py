"""Which pinned jars are known to be vulnerable, asked of a service on this machine that answers as OSV does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from small_clone import REPOSITORY

PIN_FILES = sorted((REPOSITORY / "requirements").glob("nextflow*.sha256"))
JARS = ("org.sound:sound:1.0", "org.weak:weak:2.1")
WEAK = {
    "id": "GHSA-1",
    "aliases": ["CVE-2026-1"],
    "affected": [
        {"package": {"name": "org.weak:weak"}, "ranges": [{"events": [{"introduced": "0"}, {"fixed": "2.2"}]}]},
        {"package": {"name": "org.other:other"}, "ranges": [{"events": [{"fixed": "9"}]}]},
    ],
}


class Service(BaseHTTPRequestHandler):
    """Knows of one weak jar, and says so on a second page; notes what it is asked."""

    asked: ClassVar[list[dict[str, Any]]] = []
    answers = True

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(query)
        answer: dict[str, Any] = {}
        if query["package"]["name"] == "org.weak:weak" and query["version"] == "2.1":
            answer = {"vulns": [WEAK]} if "page_token" in query else {"vulns": [], "next_page_token": "more"}
        self.send_response(200 if self.answers else 503)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    Service.asked, Service.answers = [], True
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    thread.join()
    server.server_close()


def audit(folder: Path, service: str, *jars: str) -> tuple[int, list[str]]:
    (folder / "jars.txt").write_text("# pinned\n" + "\n".join(jars) + "\n")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "requirements" / "audit_jars.py", folder / "jars.txt"],
        env={**os.environ, "PIP_AUDIT_OSV_URL": service, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_weak_jar_is_named_with_the_version_that_mends_it(tmp_path: Path, service: str) -> None:
    assert audit(tmp_path, service, *JARS) == (
        1,
        [
            "org.weak:weak:2.1: GHSA-1, CVE-2026-1, fixed in 2.2",
            "ldctpipe: 2 jars audited, 1 known vulnerabilities.",
        ],
    )
    assert Service.asked[0] == {"package": {"name": "org.sound:sound", "ecosystem": "Maven"}, "version": "1.0"}


def test_sound_jars_are_counted(tmp_path: Path, service: str) -> None:
    assert audit(tmp_path, service, JARS[0]) == (0, ["ldctpipe: 1 jars audited, 0 known vulnerabilities."])


def test_a_service_that_fails_or_is_not_there_is_one_sentence(tmp_path: Path, service: str) -> None:
    Service.answers = False
    code, (sentence,) = audit(tmp_path, service, *JARS)
    assert (code, sentence[:44]) == (69, "ldctpipe: 0 of 2 jars could be audited: HTTP")
    code, (sentence,) = audit(tmp_path, "http://127.0.0.1:9/v1/query", *JARS)
    assert code == 69 and "refused" in sentence


@pytest.mark.parametrize("pins", PIN_FILES, ids=lambda path: path.stem)
def test_every_pinned_jar_is_asked_about(pins: Path) -> None:
    lines = (REPOSITORY / "requirements" / "jars.txt").read_text().splitlines()
    names = {"{1}-{2}.jar".format(*line.split(":")) for line in lines if not line.startswith("#")}
    assert {line.split()[1] for line in pins.read_text().splitlines()} <= names


def test_no_jar_is_asked_about_that_is_not_pinned() -> None:
    pinned = [line for pins in PIN_FILES for line in pins.read_text().splitlines()]
    lines = (REPOSITORY / "requirements" / "jars.txt").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == len({line.split()[1] for line in pinned})
