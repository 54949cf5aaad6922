"""Fuzz target over discovery, reading and pairing: for seconds in the test suite, by hand for as long as wanted.

    PYTHONPATH=tests .venv/bin/python tests/faults/fuzz_reading.py --examples 100000 --folder out/fuzz

Hypothesis rather than atheris: what finds faults here is damage that knows what elements, lengths and types are, and
hypothesis shrinks such damage to the one change that matters, on every Python and system that the package runs on.
Atheris is guided by coverage of Python lines, but what decides here lies in values (lengths, types, UIDs) rather than
in lines, and in native codecs, of which it sees nothing; and it is one more native extension to be had for each Python.
"""

from __future__ import annotations

import argparse
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from accounting import Accounting, read_everything
from corpus import Specimen, corpus, synthetic_series
from derivations import derivation
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import mutated
from pydicom.uid import ExplicitVRLittleEndian

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.writing import write_derived_series
from ldctpipe.errors import InputError

_ADDRESS_SPACE_BYTES = 8 << 30
_DERIVATION = derivation()
_BYSTANDER = synthetic_series(ExplicitVRLittleEndian, 4711, slices=2, shape=(8, 8))


def fuzz(specimens: Sequence[Specimen], folder: Path, examples: int, *, is_repeatable: bool) -> None:
    """Damage files of `specimens` in `examples` ways and read each folder; raises what `read_everything` raises.

    After a failure `folder` holds the smallest damage that fails too. `is_repeatable` makes the same damage every time.
    """

    by_name = {specimen.name: specimen for specimen in specimens}  # hypothesis prints what it draws

    @settings(
        max_examples=examples,
        derandomize=is_repeatable,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(name=st.sampled_from(sorted(by_name)), random=st.randoms(use_true_random=False))
    def target(name: str, random: Random) -> None:
        read_damaged(by_name[name], random, folder)

    target()


def read_damaged(specimen: Specimen, random: Random, folder: Path) -> Accounting:
    """Write `specimen` with one to all of its files damaged, beside a sound series, and return where all files went."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    damaged = 1 if random.random() < 0.7 else len(specimen.files)
    for number, content in enumerate(specimen.files):
        (folder / f"{number}.dcm").write_bytes(mutated(random, content) if number < damaged else content)
    for number, content in enumerate(_BYSTANDER.files):
        (folder / f"bystander{number}.dcm").write_bytes(content)
    accounting = read_everything(folder)
    lost = {folder / f"bystander{number}.dcm" for number in range(len(_BYSTANDER.files))} - accounting.used
    assert not lost, "a damaged file took a sound one with it"
    return accounting


def read_written(folder: Path, written: Path) -> int:
    """Derive a series from each in `folder` that can be read, with its own HU, and return how many there were.

    Fails where one comes back from `written` with other HU, or where writing raises anything but `InputError`: it looks
    at all of a header, so it can find damage where reading saw none.
    """
    count = 0
    for series in discover(folder, threads=2).series:
        try:
            volume = read_volume(series)
            shutil.rmtree(written, ignore_errors=True)
            written.mkdir(parents=True)
            write_derived_series(series, volume.hu, written, _DERIVATION)
        except InputError:
            continue
        (again,) = discover(written).series
        np.testing.assert_array_equal(read_volume(again).hu, volume.hu)
        count += 1
    return count


def main() -> None:
    """Fuzz as the command line says, within bounded memory."""
    parser = argparse.ArgumentParser(description="Fuzz discovery, reading and pairing with damaged CT images.")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, default=Path("out/fuzz"), help="holds the smallest failing input after a failure"
    )
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    fuzz(corpus(), arguments.folder, arguments.examples, is_repeatable=False)
    print(f"{arguments.examples} examples: every file was used or skipped with a reason")


if __name__ == "__main__":
    main()
