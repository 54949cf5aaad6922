"""Asks OSV about every jar in a list of group:artifact:version, and prints those that are known to be vulnerable.

    audit_jars.py LIST

The service is the one that pip-audit uses, or PIP_AUDIT_OSV_URL. Exits with 0 if no jar is known to be vulnerable, 1 if
some are, and 69, after one sentence, if the service did not answer for every jar. Called by audit.sh.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TIMEOUT_S = 20
_LARGEST_ANSWER_BYTES = 20_000_000


def main() -> int:
    """Print the known vulnerabilities of each jar, and return the exit code."""
    lines = (line.strip() for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
    jars = [line for line in lines if line and not line.startswith("#")]
    faults: list[str] = []
    reason, answered = None, 0
    for jar in jars:
        try:
            faults += _faults(jar, _ask(_service(), jar))
        except (OSError, ValueError, http.client.HTTPException, ImportError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            break
        answered += 1
    for fault in faults:
        print(fault)
    if reason is not None:
        print(f"ldctpipe: {answered} of {len(jars)} jars could be audited: {reason}")
        return 1 if faults else 69
    print(f"ldctpipe: {len(jars)} jars audited, {len(faults)} known vulnerabilities.")
    return 1 if faults else 0


def _service() -> str:
    if address := os.environ.get("PIP_AUDIT_OSV_URL"):
        return address
    from pip_audit._service.osv import OsvService

    return str(OsvService.DEFAULT_OSV_URL)


def _ask(service: str, jar: str) -> list[dict[str, Any]]:
    """Return the vulnerabilities that the service knows for a jar, from all pages of its answer."""
    group, artifact, version = jar.split(":")
    known: list[dict[str, Any]] = []
    query: dict[str, Any] = {"package": {"name": f"{group}:{artifact}", "ecosystem": "Maven"}, "version": version}
    for _ in range(100):
        answer = _post(service, query)
        known += answer.get("vulns", [])
        if not answer.get("next_page_token"):
            return known
        query["page_token"] = answer["next_page_token"]
    raise ValueError(f"the answer about {jar} does not end")


def _post(service: str, query: dict[str, Any]) -> dict[str, Any]:
    asked = urllib.request.Request(service, json.dumps(query).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as reply:
        answer = json.loads(reply.read(_LARGEST_ANSWER_BYTES))
    if not isinstance(answer, dict):
        raise ValueError("the service does not answer as OSV does")
    return answer


def _faults(jar: str, known: list[dict[str, Any]]) -> Iterator[str]:
    for fault in known:
        if "withdrawn" in fault:
            continue
        names = ", ".join([str(fault["id"]), *map(str, fault.get("aliases", []))])
        yield f"{jar}: {names}, fixed in {', '.join(_fixed_in(jar, fault)) or 'no version yet'}"


def _fixed_in(jar: str, fault: dict[str, Any]) -> list[str]:
    name = jar.rpartition(":")[0]
    ranges = [
        one
        for affected in fault.get("affected", [])
        if affected.get("package", {}).get("name") == name
        for one in affected.get("ranges", [])
    ]
    return [str(event["fixed"]) for one in ranges for event in one.get("events", []) if "fixed" in event]


if __name__ == "__main__":
    sys.exit(main())
