#!/usr/bin/env bash
# Installs what is asked for into the clone's own .venv and .tools, once; called by the Makefile.
#   install.sh runtime     what runs the pipeline: the package, its dependencies, Nextflow and Java where missing
#   install.sh dev         that, and what tests and checks need
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
wanted=${1:?runtime or dev}
python=${PYTHON:-python3}
root=$(pwd -P)
venv=$root/.venv
tools=$root/.tools
needed_gb=12

say() { echo "ldctpipe: $*" >&2; }
stop() { say "$*"; exit 1; }
checksum() { (echo "$root"; cat -- "$@") | sha256sum | cut -d' ' -f1; }

# A stamp holds the checksum of the files that it was made from; whatever differs is installed again.
stamped() { [[ -f $venv/.$1.stamp && $(<"$venv/.$1.stamp") == "$2" ]]; }
stamp() { echo "$2" >"$venv/.$1.stamp.new" && mv -- "$venv/.$1.stamp.new" "$venv/.$1.stamp"; }

one_at_a_time() {
    mkdir -p "$tools"
    command -v flock >/dev/null || return 0
    exec 9>"$tools/install.lock"
    flock --nonblock 9 || { say "another installation is under way; waiting for it."; flock 9; }
}

# The mark .installing says that packages may be half there. A venv that carries it, or that came with another
# folder or lost its Python, is made anew: downloads are cached, so that costs little.
make_venv() {
    if [[ -e $venv/.installing ]] || { [[ -d $venv ]] && ! "$venv/bin/python" -c '' 2>/dev/null; } \
        || { [[ -f $venv/.home ]] && [[ $(<"$venv/.home") != "$root" ]]; }; then
        say "the environment is incomplete or was moved here; making it anew."
        rm -rf -- "$venv"
    fi
    [[ -d $venv ]] && return
    command -v "$python" >/dev/null || stop "$python is not here; install Python 3.10 or newer, or name one with PYTHON=."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        stop "$("$python" --version) is too old; install Python 3.10 or newer, or name one with PYTHON=."
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        stop "$python has no venv module; install it (Debian: apt-get install python3-venv)."
    local free_gb
    free_gb=$(($(df -Pk . | awk 'END { print $4 }') / 1024 / 1024))
    ((free_gb >= needed_gb)) ||
        stop "$root has $free_gb GB free and the installation needs about $needed_gb GB; free some space or clone elsewhere."
    mkdir "$venv"
    touch "$venv/.installing"
    "$python" -m venv "$venv" || stop "$python could not make a virtual environment; see the lines above."
    echo "$root" >"$venv/.home"
}

# uv installs in a fifth of pip's time, but knows pip's settings only as far as they are handed to it here;
# with any other of pip's settings, and whenever uv fails, pip itself installs.
install_packages() {
    local settings other
    settings=$("$venv/bin/pip" config list 2>/dev/null || true)
    setting() { sed -nE "s/^[^=]*\.$1='(.*)'$/\1/p" <<<"$settings" | tail -1; }
    other=$(grep -cvE '\.(index-url|extra-index-url|find-links|cert|default-timeout|timeout|disable-pip-version-check|no-cache-dir|cache-dir|progress-bar|require-virtualenv|root-user-action|no-input|quiet|verbose)=|^$' <<<"$settings" || true)
    if [[ $other == 0 && -x $venv/bin/uv ]]; then
        (
            index=$(setting index-url) more=$(setting extra-index-url) links=$(setting find-links) cert=$(setting cert)
            [[ -z $index ]] || export UV_DEFAULT_INDEX=$index
            [[ -z $more ]] || export UV_INDEX=$more
            [[ -z $links ]] || export UV_FIND_LINKS=$links
            [[ -z $cert ]] || export SSL_CERT_FILE=$cert
            export UV_HTTP_TIMEOUT=180
            "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "$@"
        ) && return
        say "uv could not install; trying pip."
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# install_set NAME FILE...: the packages of these requirement files, if they are not the ones that are there.
install_set() {
    local name=$1 sum file files=()
    shift
    sum=$(checksum "$@")
    stamped "$name" "$sum" && return
    for file in "$@"; do files+=(-r "$file"); done
    say "installing the $name packages into .venv (minutes, once)."
    touch "$venv/.installing"
    install_packages --require-hashes "${files[@]}" || stop "the $name packages could not be installed; see the lines above."
    stamp "$name" "$sum"
    rm -f -- "$venv/.installing"
}

install_package() {
    local sum
    sum=$(checksum pyproject.toml)
    stamped package "$sum" && [[ -x $venv/bin/ldctpipe ]] && return
    touch "$venv/.installing"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ||
        stop "the package itself could not be installed; see the lines above."
    stamp package "$sum"
    rm -f -- "$venv/.installing"
}

# Bytecode for every package: if Python can't write it later (PYTHONDONTWRITEBYTECODE, a read-only installation), each
# start would compile torch again. Some packages contain files for other versions of Python, so files that fail to
# compile are no error.
compile_packages() {
    local sum
    sum=$(checksum requirements/{bootstrap,runtime,dev,java}.txt "$venv"/.*.stamp)
    [[ -f $venv/.bytecode && $(<"$venv/.bytecode") == "$sum" ]] && return
    say "compiling the packages in .venv (about a minute, once)."
    "$venv/bin/python" -m compileall -qq -j 0 "$venv"/lib/python3*/site-packages >/dev/null || [[ $? == 1 ]] ||
        say "the packages could not be compiled; every start will take longer."
    echo "$sum" >"$venv/.bytecode.new" && mv -- "$venv/.bytecode.new" "$venv/.bytecode"
}

# The package is edited and updated in place, so this runs each time; files that are up to date are not compiled again.
compile_package() {
    "$venv/bin/python" -m compileall -qq ldctpipe >/dev/null || true
}

install_java() {
    bin/nextflow --find-java >/dev/null 2>&1 || install_set java requirements/java.txt
}

# install_jars NAME: what requirements/NAME.xml asks for, checked against the pinned checksums before it gets its name.
install_jars() {
    local folder=$tools/$1 pins=requirements/$1.sha256
    cmp --silent "$pins" "$folder/pins" && return
    say "fetching $1 into .tools."
    rm -rf -- "$folder.new"
    mvn -q -B -f "requirements/$1.xml" dependency:copy-dependencies -DoutputDirectory="$folder.new" >"$tools/maven.log" 2>&1 ||
        stop "Maven could not fetch $1 ($(grep -m1 ERROR "$tools/maven.log")); check the network and run the same command again."
    (cd "$folder.new" && sha256sum --quiet --check -) <"$pins" || stop "what Maven fetched is not what $pins pins; see the lines above."
    cp -- "$pins" "$folder.new/pins"
    rm -rf -- "$folder"
    mv -- "$folder.new" "$folder"
}

# Before anything long: whether there is a Nextflow, or a Maven that can fetch one.
find_nextflow() {
    nextflow=$(bin/nextflow --find 2>/dev/null || true)
    [[ -n $nextflow ]] || command -v mvn >/dev/null ||
        stop "neither Nextflow nor Maven is here; install Nextflow 24.10 or newer (nextflow.io), or Maven (Debian: apt-get install maven) to fetch it with."
}

install_nextflow() {
    if [[ -z $nextflow ]] || { [[ $nextflow == "$tools/nextflow" ]] && command -v mvn >/dev/null; }; then
        install_jars nextflow
    fi
}

# The strict parser only serves `make lint`, which says so where it is missing.
install_lint() {
    command -v mvn >/dev/null || return 0
    install_jars nextflow-lint
}

one_at_a_time
find_nextflow
make_venv
install_set bootstrap requirements/bootstrap.txt
install_set runtime requirements/runtime.txt
[[ $wanted != dev ]] || install_set dev requirements/dev.txt
install_java
install_package
compile_packages
compile_package
install_nextflow
[[ $wanted != dev ]] || install_lint
[[ $wanted != dev ]] || requirements/debian.sh
