#!/usr/bin/env bash
# build.sh CONTAINERFILE TAG: the image for the profiles docker and podman; called by `make image` and `make image-cpu`.
#   BASE_IMAGE=IMAGE   another base, Debian or made from it, where the Containerfile's own can't be fetched
#   BUILDER=PROGRAM    what a site builds with instead of Podman or Docker, called with CONTAINERFILE CONTEXT TAG
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
containerfile=${1:?} tag=${2:?}
needed_gb=20

say() { echo "ldctpipe: $*" >&2; }
stop() { say "$*"; exit 1; }

if [[ -z ${BUILDER:-} ]]; then
    engine=$(type -P podman || type -P docker) || stop "neither Podman nor Docker is here to build an image with; install one, or name a program that builds with BUILDER=."
fi
storage=/var/lib
[[ -w $storage ]] || storage=$HOME
free_gb=$(($(df -Pk "$storage" | awk 'END { print $4 }') / 1024 / 1024))
((free_gb >= needed_gb)) || stop "$storage has $free_gb GB free and building an image needs $needed_gb GB; free some space."

# Filled in as text, so that every builder knows them, and none takes an earlier revision's label from its cache.
base=${BASE_IMAGE:-$(sed -n 's/^ARG BASE_IMAGE=//p' "$containerfile")}
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' ldctpipe/__init__.py)
revision=$(git describe --always --dirty --abbrev=40 2>/dev/null || echo unknown)
filled=$(mktemp)
trap 'rm -f -- "$filled"' EXIT
sed -e "s|^ARG BASE_IMAGE=.*|ARG BASE_IMAGE=$base|" -e "s|[$]{VERSION}|$version|" -e "s|[$]{REVISION}|$revision|" \
    "$containerfile" >"$filled"

SECONDS=0
export BUILDAH_FORMAT=docker # the format that knows a health check
if [[ -n ${BUILDER:-} ]]; then
    "$BUILDER" "$filled" . "$tag" || stop "$BUILDER could not build $tag; see the lines above."
else
    "$engine" image inspect "$base" >/dev/null 2>&1 || "$engine" pull "$base" ||
        stop "the base image $base can't be fetched (see above); name one that can with BASE_IMAGE=IMAGE."
    "$engine" build -f "$filled" -t "$tag" . || stop "${engine##*/} could not build $tag; see the lines above."
fi
say "built $tag in $SECONDS s; what it holds is listed in its /opt/ldctpipe/ldctpipe.cdx.json (CycloneDX)."
