#!/usr/bin/env bash
# Unpacks the Debian packages of the tests' tools into .tools/debian where the machine lacks them, without root, and
# puts launchers into .tools/bin; called by install.sh. Where that can't be done, it says which tests will be skipped.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
tools=$(pwd -P)/.tools
folder=$tools/debian

# A file or program that a test needs, the Debian package that has it, the tests that are skipped without it.
needed=(
    "Orthanc orthanc PACS"
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so orthanc-dicomweb PACS"
    "dciodvfy dicom3tools validation"
    "dcentvfy dicom3tools validation"
    "dcmcjpeg dcmtk codec"
    "dcmdump dcmtk codec"
    "ojph_compress openjph-tools codec"
)
missing=() kinds=""
PATH=$PATH:/usr/sbin # where Orthanc lies, and what ordinary users often lack

say() { echo "ldctpipe: $*" >&2; }
holds() { [[ " ${*:2} " == *" $1 "* ]]; }

find_missing() {
    local line file package kind
    for line in "${needed[@]}"; do
        read -r file package kind <<<"$line"
        if [[ $file == /* ]]; then [[ ! -e $file ]] || continue; else ! command -v "$file" >/dev/null || continue; fi
        holds "$package" "${missing[@]}" || missing+=("$package")
        [[ $kinds == *"$kind"* ]] || kinds+=${kinds:+, }$kind
    done
}

give_up() {
    say "$1; the tests that need them ($kinds) will be skipped (as root: apt-get install ${missing[*]})."
    exit 0
}

# apt with package lists and a cache of its own: it needs no root, and no index that somebody else keeps up to date.
configure_apt() {
    mkdir -p "$work"/{lists,cache/archives}/partial "$work/packages"
    cat >"$work/apt.conf" <<END
#clear APT::Update;
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Debug::NoLocking "true";
END
}
apt() { apt-get -qq -y -c "$work/apt.conf" "$@" 2>>"$tools/debian.log"; }

# The missing packages, and those that they depend on and that the machine does not have.
wanted() {
    local new
    new=$(apt install --simulate "${missing[@]}") || return
    { printf '%s\n' "${missing[@]}"; sed -nE 's/^Inst ([^ ]+) .*/\1/p' <<<"$new"; } | sort -u
}

# Each program gets its libraries from a launcher, so that they come before the machine's for nothing else.
make_launchers() {
    local name program library dictionary
    library=$(find "$folder.new" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
    dictionary=$(find "$folder.new" -name dicom.dic -printf "export DCMDICTPATH='%p'" -quit)
    rm -rf -- "${tools:?}/bin"
    mkdir -p "$tools/bin"
    for program in "$folder.new"/usr/{bin,sbin}/*; do
        name=$(basename -- "$program")
        [[ -x $program ]] || continue
        ! command -v "$name" >/dev/null || continue
        cat >"$tools/bin/$name" <<END
#!/bin/sh
export LD_LIBRARY_PATH='${library//$folder.new/$folder}'"\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
${dictionary/$folder.new/$folder}
exec '${program/#$folder.new/$folder}' "\$@"
END
        chmod +x "$tools/bin/$name"
    done
}

find_missing
((${#missing[@]})) || exit 0
stamp=$(echo "$tools ${missing[*]}" | cat - requirements/debian.sh | sha256sum)
[[ ! -f $folder/stamp || $(<"$folder/stamp") != "$stamp" ]] || exit 0
for program in apt-get dpkg-deb; do
    command -v "$program" >/dev/null || give_up "${missing[*]} are not here, and no $program to fetch them with"
done

say "fetching ${missing[*]} into .tools (about a minute, once)."
work=$folder.work
rm -rf -- "$work" "$folder.new" "$tools/debian.log"
mkdir -p "$folder.new"
trap 'rm -rf -- "$work" "$folder.new"' EXIT
configure_apt
apt update >/dev/null || give_up "the package lists could not be fetched ($(tail -1 "$tools/debian.log"))"
mapfile -t packages <<<"$(wanted)"
[[ -n ${packages[0]} ]] || give_up "apt-get finds no ${missing[*]} ($(tail -1 "$tools/debian.log"))"
(cd "$work/packages" && apt download "${packages[@]}" >/dev/null) || give_up "${missing[*]} could not be fetched ($(tail -1 "$tools/debian.log"))"
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$folder.new" || give_up "${package##*/} could not be unpacked"
done
make_launchers
echo "$stamp" >"$folder.new/stamp"
rm -rf -- "$folder"
mv -- "$folder.new" "$folder"
