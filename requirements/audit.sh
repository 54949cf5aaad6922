#!/usr/bin/env bash
# Asks the Python index' vulnerability service about every pinned package, and OSV (pip-audit's address or PIP_AUDIT_OSV_URL)
# about every pinned jar; called by `make audit` and `make image`.
# Exits with 0 if none is known to be vulnerable, 1 if some are, 69 if a service did not answer for all of them.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
pins=requirements/supply-chain.txt
venv=.tools/supply-chain

if ! cmp --silent "$pins" "$venv/pins"; then
    rm -rf -- "$venv"
    mkdir -p .tools
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$pins"
    cp -- "$pins" "$venv/pins"
fi

answers=$(mktemp -d)
trap 'rm -rf -- "$answers"' EXIT
"$venv/bin/pip-audit" -r requirements/runtime.txt --disable-pip --require-hashes --format json --progress-spinner off \
    -o "$answers/answers.json" 2>"$answers/errors" || true

# pip-audit ends well where it could ask about nothing, so what it says of each package is what counts.
packages=0 jars=0
"$venv/bin/python" - "$answers" <<'END' || packages=$?
import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
file = folder / "answers.json"
packages = json.loads(file.read_text())["dependencies"] if file.exists() and file.stat().st_size else []
asked = [package for package in packages if "skip_reason" not in package]
faults = [
    f"{package['name']} {package['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version yet'}"
    for package in asked
    for fault in package["vulns"]
]
for fault in faults:
    print(fault)
if not packages or len(asked) < len(packages):
    said = (folder / "errors").read_text().strip().splitlines() or ["no answer"]
    reason = next((package["skip_reason"] for package in packages if "skip_reason" in package), said[-1])
    print(f"ldctpipe: {len(asked)} of {len(packages) or 'all'} packages could be audited: {reason[:200]}")
    sys.exit(69)
print(f"ldctpipe: {len(asked)} packages audited, {len(faults)} known vulnerabilities.")
sys.exit(1 if faults else 0)
END

"$venv/bin/python" requirements/audit_jars.py requirements/jars.txt || jars=$?
# A known vulnerability outweighs a missing answer.
if ((packages == 1 || jars == 1)); then exit 1; fi
exit $((packages ? packages : jars))
