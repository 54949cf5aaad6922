"""Every file of text that the program reads, damaged in every way: `InputError`, at once, and never anything else.

A table of readers by files, each file made once; a table of changes, each made to each file.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_bundle import write_small_bundle

from ldctpipe.data.samplesheet import read_sheet
from ldctpipe.data.store import open_store
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import read_json, sha256_of_file, write_json
from ldctpipe.foreign import json_of, yaml_of
from ldctpipe.inference.cohort_manifest import tally_in, write_cohort_manifest
from ldctpipe.inference.cohort_plan import planned_patients
from ldctpipe.inference.cohort_record import read_record
from ldctpipe.inference.job import FORMAT
from ldctpipe.inference.manifest import series_in
from ldctpipe.metrics.samples import Sample, read_samples, write_samples
from ldctpipe.metrics.summary_file import read_summary
from ldctpipe.models.tensor_files import read_tensors
from ldctpipe.recipes.bundle import read_bundle
from ldctpipe.recipes.library import load_recipe, recipe_from_file, recipe_to_yaml
from ldctpipe.recipes.sweep import load_sweep
from ldctpipe.recipes.sweep_plan import plan_sweep, read_plan, write_plan
from ldctpipe.record.checksums import read_checksums
from ldctpipe.record.run_record import complete_record
from ldctpipe.record.verification import verify
from ldctpipe.reporting.run_folder import read_table
from ldctpipe.training.checkpoints import CheckpointFolder
from ldctpipe.volumes.case import read_case, write_case
from ldctpipe.volumes.nifti import read_nifti
from ldctpipe.volumes.volume import Volume

LONGEST_S = 3.0
DEEP, MANY_DIGITS = 100_000, "9" * 10_000
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


def make_files(root: Path) -> None:
    write_small_bundle(root / "bundle", "red_cnn.RedCnn", channels=2)
    volume = Volume(np.zeros((3, 4, 5), np.int16), np.eye(4), np.arange(3.0), key="abc")
    (root / "case").mkdir()
    write_case(root / "case", volume)
    make_store(root / "store")
    (root / "metrics").mkdir()
    write_json(root / "metrics" / "summary.json", summary())
    write_samples(
        root / "metrics" / "samples.npz", [Sample("P", "s", 1.0, (1.0, 1.0), np.zeros((3, 20, 20), np.int16))]
    )
    write_plan(plan_sweep(load_sweep("table1"), "wgan-gp-effnetv2-mini"), root / "plan.csv")
    (root / "recipe.yaml").write_text(recipe_to_yaml(load_recipe("red-cnn")))
    (root / "sweep.yaml").write_text("name: s\ntitle: t\ncolumns: {seed: Seed}\npoints: [{name: a}]\n")
    (root / "cohort").mkdir()
    write_cohort_manifest(root / "cohort", [])
    entry = {"key": "k", "state": "denoised", "slices": 1, "source": "s", "warnings": [], "sent_to": [], "files": {}}
    write_json(root / "manifest.json", {"format": FORMAT, "series": [entry]})
    (root / "groups.csv").write_text("group,patient\nP,P\n")
    (root / "sheet.csv").write_text("patient,low_dose,full_dose,split\nP,bundle,case,train\n")
    write_json(root / "checksums.json", {"format": "ldctpipe-checksums@1", "files": {}})
    (root / "run").mkdir()
    write_json(root / "run" / "run.json", {"parameters": {}})
    (root / "training.csv").write_text("iteration,loss\n1,2.0\n")


def make_store(folder: Path) -> None:
    folder.mkdir()
    np.save(folder / "pairs.npy", np.zeros((2, 2, 40, 40), np.int16))
    np.save(folder / "origins.npy", np.zeros((4, 2), np.int16))
    rows = {"patient": "P", "series": "s", "position_mm": 1.0, "split": "train", "rows": 40, "columns": 40}
    table = pd.DataFrame([{**rows, "first_origin": 0, "origins": 2}, {**rows, "first_origin": 2, "origins": 2}])
    table.to_parquet(folder / "slices.parquet")
    write_json(folder / "store.json", {"format": "ldctpipe-store@1", "patch_size": 32, "sha256": "ab", "slices": {}})


def summary() -> dict[str, Any]:
    from ldctpipe.metrics.protocols import find_protocol
    from ldctpipe.metrics.slices import MEASURES

    protocol = find_protocol("mayo-soft")
    values = {name: {"mean": 1.0, "sd": None, "ci95": [0.5, 1.5], "slice_sd": 0.1} for name in MEASURES}
    means = {"psnr_db": 1.0, "ssim": 1.0, "rmse_hu": None}
    compared = {
        "measure": "psnr_db", "method": "m", "baseline": "low_dose", "role": "primary", "n_patients": 1,
        "difference": values["psnr_db"], "rank_biserial": 1.0, "improved_percent": 100.0, "compared": 1,
        "smallest_p_holm": 1.0, "test": None, "p": None, "p_holm": None, "note": "too few",
    }  # fmt: skip
    bias = {
        "measure": "bias_hu", "tissue": "soft", "method": "m", "role": "safety", "n_patients": 1, "margin_hu": 1.0,
        "mean": 0.1, "ci90": None, "p": None, "equivalent": None,
    }  # fmt: skip
    return {
        "format": "ldctpipe-evaluation@2",
        "protocol": protocol.label,
        "protocol_definition": protocol.model_dump(mode="json"),
        "methods": {"low_dose": values, "m": values},
        "gains": {"m": values},
        "patients": {"P": {"low_dose": means, "m": means}},
        "slices_per_patient": {"P": 3},
        "n_patients": 1,
        "n_slices": 3,
        "tests": [],
        "comparisons": [compared],
        "equivalence": [bias],
        "endpoints": {"primary": {"measure": "psnr_db", "against": "low_dose"}, "safety": {"margin_hu": 1.0}},
        "intervals": {"ci95": {"method": "t", "least_patients": 5}},
        "warnings": [],
        "notes": {},
    }


def tensors_of(path: Path) -> object:
    return read_bundle(path.parent).tensors()


def record_of(path: Path) -> object:
    return complete_record(path.parent)


# What reads each file, and whether it is JSON, YAML, CSV or binary.
READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "bundle/card.json": (lambda path: read_bundle(path.parent), "json"),
    "bundle/recipe.yaml": (recipe_from_file, "yaml"),
    "bundle/model.safetensors": (tensors_of, "binary"),
    "case/case.json": (lambda path: read_case(path.parent), "json"),
    "case/volume.nii": (lambda path: read_case(path.parent), "binary"),
    "store/store.json": (lambda path: open_store(path.parent), "json"),
    "store/slices.parquet": (lambda path: open_store(path.parent), "binary"),
    "store/origins.npy": (lambda path: open_store(path.parent), "binary"),
    "store/pairs.npy": (lambda path: open_store(path.parent), "binary"),
    "metrics/summary.json": (read_summary, "json"),
    "metrics/samples.npz": (read_samples, "binary"),
    "plan.json": (read_plan, "json"),
    "recipe.yaml": (lambda path: load_recipe(str(path)), "yaml"),
    "sweep.yaml": (lambda path: load_sweep(str(path)), "yaml"),
    "cohort/manifest.json": (tally_in, "json"),
    "manifest.json": (series_in, "json of whom"),
    "groups.csv": (planned_patients, "csv"),
    "sheet.csv": (read_sheet, "csv"),
    "checksums.json": (lambda path: read_checksums(path.parent), "json"),
    "run/run.json": (record_of, "json"),
    "training.csv": (lambda path: read_table(path, ("iteration",)), "csv"),
}


def to_text(path: Path, text: str | bytes) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as ear:
            ear.bind(path.name)
    finally:
        os.chdir(here)


def to_link(target: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return change


def to_huge(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)  # sparse: it takes no space


CHANGES: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: to_text(path, ""),
    "noise": lambda path: to_text(path, np.random.default_rng(1).bytes(5000)),
    "half": lambda path: to_text(path, path.read_bytes()[: path.stat().st_size // 2]),
    "Latin-1": lambda path: to_text(path, b"{\"\xe4\": \"\xfc\"}"),
    "UTF-16": lambda path: to_text(path, '{"a": 1}'.encode("utf-16")),
    "zeros": lambda path: to_text(path, b"\0" * 1000),
    "null": lambda path: to_text(path, "null"),
    "a list": lambda path: to_text(path, "[1, 2]"),
    "a text": lambda path: to_text(path, '"x"'),
    "a number": lambda path: to_text(path, "3"),
    "a long number": lambda path: to_text(path, MANY_DIGITS),
    "a long number inside": lambda path: to_text(path, f'{{"a": {MANY_DIGITS}}}'),
    "deep lists": lambda path: to_text(path, "[" * DEEP + "]" * DEEP),
    "deep objects": lambda path: to_text(path, '{"a":' * DEEP + "1" + "}" * DEEP),
    "an open end": lambda path: to_text(path, "[" * DEEP),
    "a billion laughs": lambda path: to_text(path, LAUGHS),
    "an alias of itself": lambda path: to_text(path, "a: &a [*a]\n"),
    "wrong tags": lambda path: to_text(path, "a: !!bool maybe\nb: !!int ''\n"),
    "code in tags": lambda path: to_text(path, "a: !!python/object/apply:os.system [touch PWNED]\n"),
    "a date that is none": lambda path: to_text(path, "a: 2001-99-99\n"),
    "a pipe": to_pipe,
    "a folder": to_folder,
    "a socket": to_socket,
    "a device": to_link("/dev/zero"),
    "a link to nowhere": to_link("nowhere"),
    "a link to itself": lambda path: to_link(path.name)(path),
    "a terabyte": to_huge,
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    make_files(root)
    return root


@pytest.fixture
def files(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "files")
    return tmp_path / "files"


def outcome_of(read: Callable[[Path], object], path: Path) -> BaseException | None:
    began = time.monotonic()
    try:
        read(path)
    except (InputError, OSError) as error:  # the latter become one sentence with status 74
        assert not isinstance(error, InputError) or len(str(error)) < 2000
        return error
    finally:
        assert time.monotonic() - began < LONGEST_S
    return None


@pytest.mark.parametrize("name", [name for name in READERS if name != "run/run.json"])
def test_every_reader_takes_the_sound_file(files: Path, name: str) -> None:
    READERS[name][0](files / name)


@pytest.mark.parametrize("change", CHANGES)
def test_every_reader_refuses_every_damaged_file(sound: Path, tmp_path: Path, change: str) -> None:
    for number, (name, (read, kind)) in enumerate(READERS.items()):
        root = tmp_path / str(number)
        shutil.copytree(sound, root)
        CHANGES[change](root / name)

        refusal = outcome_of(read, root / name)

        # A table of one column and the plan of no patient may be anything; a manifest may be of another program.
        is_json = change in ("null", "a list", "a text", "a number")
        assert refusal is not None or kind == "csv" or (kind == "json of whom" and is_json), (name, change)
        shutil.rmtree(root)


def wrong_values(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield places in JSON with wrong values for them: each part of it, of another type."""
    for wrong in (None, "x", 3, -1, 1e300, True, [], {}, [[]], {"x": None}):
        if type(wrong) is not type(value):
            yield place, wrong
    children = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, child in children:
        yield from wrong_values(child, (*place, key))


def with_value(value: Any, place: tuple[Any, ...], wrong: Any) -> Any:
    if not place:
        return wrong
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = with_value(value[place[0]], place[1:], wrong)
    return copy


@pytest.mark.parametrize("name", [name for name, (_, kind) in READERS.items() if "json" in kind])
def test_values_of_other_types_end_in_nothing_but_input_errors(files: Path, name: str) -> None:
    read, path = READERS[name][0], files / name
    told = json.loads(path.read_text())
    refused = 0
    every = list(wrong_values(told))
    for place, wrong in Random(7).sample(every, min(len(every), 80)):
        path.write_text(json.dumps(with_value(told, place, wrong)))
        refused += outcome_of(read, path) is not None

    assert refused > 5, "the check of types is not there"


def test_records_that_are_none_are_done_again(files: Path) -> None:
    for change in CHANGES.values():
        (files / "record.json").write_text("{}")
        change(files / "record.json")
        with_path = files / "record.json"
        try:
            assert read_record(with_path) is None
        except OSError:
            assert with_path.is_symlink()
        if with_path.is_dir() and not with_path.is_symlink():
            with_path.rmdir()
        with_path.unlink(missing_ok=True)


@pytest.mark.parametrize("change", ["deep lists", "null", "a pipe", "code in tags"])
def test_verify_ends_in_a_sentence(files: Path, change: str) -> None:
    CHANGES[change](files / "bundle" / "card.json")

    with pytest.raises(InputError, match="no checksums"):
        verify(files / "bundle")


def recipe_changed(bundle: Path, old: str, new: str) -> None:
    recipe = bundle / "recipe.yaml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    card = read_json(bundle / "card.json", "a card")
    write_json(bundle / "card.json", {**card, "recipe_sha256": sha256_of_file(recipe)})


@pytest.mark.parametrize("number", ["100000", "2000000000", "-4", "0", "60000", "1e9", ".inf", ".nan", MANY_DIGITS])
@pytest.mark.parametrize("option", ["channels: 2", "kernel: 5"])
def test_networks_of_no_possible_size(files: Path, option: str, number: str) -> None:
    recipe_changed(files / "bundle", option, f"{option.split(':')[0]}: {number}")

    with pytest.raises(InputError) as refusal:
        read_bundle(files / "bundle").tensors()

    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    "override",
    [
        "generator.channels=60000", "generator.channels=-4", "generator.channels=1e300", "data.context=9",
        "generator.kernel=65000", "data.patch_size=999999999", "data.images_per_batch=2000000000", "seed=1e30",
        "training.iterations=99999999999999999999", f"seed={MANY_DIGITS}", "losses.pixel=.nan",
        f"losses.pixel={'[' * 3000}", "generator.channels=!!int ''",
    ],
)  # fmt: skip
def test_recipes_of_no_possible_size(override: str) -> None:
    from ldctpipe.recipes.networks import build_generator

    with pytest.raises(UsageError):
        build_generator(load_recipe("red-cnn", [override]))


def changed_weights(bundle: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = bundle / "model.safetensors"
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    accept_weights(bundle)


def accept_weights(bundle: Path) -> None:
    card = read_json(bundle / "card.json", "a card")
    digest = sha256_of_file(bundle / "model.safetensors")
    write_json(bundle / "card.json", {**card, "weights": {**card["weights"], "sha256": digest}})


def first(tensors: dict[str, torch.Tensor]) -> str:
    return sorted(tensors)[0]


WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], None], str]] = {
    "NaN": (lambda state: state[first(state)].fill_(torch.nan), "NaN or infinite"),
    "infinity": (lambda state: state[first(state)].view(-1)[:1].fill_(torch.inf), "NaN or infinite"),
    "one missing": (lambda state: state.pop(first(state)), "does not fit"),
    "one more": (lambda state: state.update(more=torch.zeros(3)), "does not fit"),
    "another shape": (lambda state: state.update({first(state): torch.zeros(3, 3)}), "does not fit"),
    "whole numbers": (lambda state: state.update({first(state): state[first(state)].long()}), "another data type"),
    "complex": (
        lambda state: state.update({first(state): state[first(state)].to(torch.complex64)}),
        "another data type",
    ),
}


@pytest.mark.parametrize(("change", "says"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_none_of_the_recipe(files: Path, change: Any, says: str) -> None:
    changed_weights(files / "bundle", change)

    with pytest.raises(InputError, match=says):
        read_bundle(files / "bundle").tensors()


def safetensors(header: bytes | dict[str, Any], length: int | None = None, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS = {
    "a length of 2^60": safetensors({}, 1 << 60),
    "a length of 2^64 - 1": safetensors({}, (1 << 64) - 1),
    "a length of 99 MB": safetensors({}, 99 << 20),
    "deep": safetensors(b'{"a":' * DEEP),
    "a list": safetensors(b"[1]"),
    "a text for a tensor": safetensors({"a": "x"}),
    "a shape of texts": safetensors({"a": entry(["x"], [0, 8])}),
    "a shape of -1": safetensors({"a": entry([-1], [0, 8])}),
    "a shape of 2^62": safetensors({"a": entry([1 << 62], [0, 8])}),
    "overlap": safetensors({"a": entry([2], [0, 8]), "b": entry([2], [0, 8])}),
    "beyond the end": safetensors({"a": entry([20], [0, 80])}),
    "an unknown type": safetensors({"a": entry([2], [0, 8], "X9")}),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_headers_of_weights_that_lie(files: Path, content: bytes) -> None:
    path = files / "bundle" / "model.safetensors"
    path.write_bytes(content)
    accept_weights(files / "bundle")

    with pytest.raises(InputError):
        read_bundle(files / "bundle").tensors()
    with pytest.raises(InputError):
        read_tensors(path, "give another")


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in ("a link to nowhere", "a link to itself")])
def test_pickled_weights(tmp_path: Path, change: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2)}, path)
    assert list(read_tensors(path, "give another")) == ["a"]
    CHANGES[change](path)

    with pytest.raises((InputError, OSError)):
        read_tensors(path, "give another")


@pytest.mark.parametrize("value", [[torch.zeros(2)], {"a": 3}, {"state_dict": {"a": "x"}}, 3], ids=str)
def test_pickled_values_that_are_no_tensors_by_name(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "weights.pt")

    with pytest.raises(InputError, match="does not hold named tensors"):
        read_tensors(tmp_path / "weights.pt", "give another")


def npy(path: Path, header: str) -> None:
    text = header.ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1") + b"\0" * 64)


HEADERS_OF_ARRAYS = [
    "{'descr': '<i2', 'fortran_order': False, 'shape': (4, 2000000000000)}",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (99999999999999999999, 2)}",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (-4, 2)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4, 2)}",
    "{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (4, 2)}",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (8,)}",
    "{'descr': 'nonsense', 'fortran_order': False, 'shape': (4, 2)}",
    "[" * 100,
    "__import__('os').system('touch PWNED')",
]


@pytest.mark.parametrize("header", HEADERS_OF_ARRAYS)
@pytest.mark.parametrize("name", ["origins.npy", "pairs.npy"])
def test_arrays_of_a_store_whose_header_lies(files: Path, name: str, header: str) -> None:
    npy(files / "store" / name, header)

    with pytest.raises(InputError):
        open_store(files / "store")
    assert not Path("PWNED").exists()


def test_an_array_of_pickled_objects_is_not_unpickled(files: Path) -> None:
    np.save(files / "store" / "origins.npy", np.array([{"a": 1}] * 4, dtype=object), allow_pickle=True)

    with pytest.raises(InputError):
        open_store(files / "store")


@pytest.mark.parametrize(
    ("column", "value"),
    [("origins", -1), ("first_origin", 99), ("rows", 10**6), ("rows", 1.5), ("patient", 3), ("split", None),
     ("position_mm", float("nan")), ("columns", "x"), ("padding", 3), ("pixel_mm", "x")],
)  # fmt: skip
def test_tables_of_a_store_that_point_outside(files: Path, column: str, value: Any) -> None:
    table = pd.read_parquet(files / "store" / "slices.parquet")
    table[column] = value
    table.to_parquet(files / "store" / "slices.parquet")

    with pytest.raises(InputError):
        open_store(files / "store")


def test_patches_outside_of_the_images_are_refused(files: Path) -> None:
    np.save(files / "store" / "origins.npy", np.full((4, 2), 9, np.int16))  # 9 + 32 > 40

    with pytest.raises(InputError, match="outside its images"):
        open_store(files / "store")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_pipe_called_nifti(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)

    with pytest.raises(InputError, match="is a named pipe"):
        read_nifti(tmp_path / name)


def test_checkpoints_that_are_none_are_passed_over(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "iteration-0000002-best-0000001.pt")
    os.mkfifo(tmp_path / "iteration-0000003-best-0000001.pt")
    (tmp_path / "iteration-x-best-y.pt").write_text("x")

    with pytest.raises(InputError, match="only damaged checkpoints"):
        CheckpointFolder(tmp_path).newest()


def test_a_recipe_that_is_based_on_itself(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(f"base: {other}\n")
    other.write_text(f"base: {one}\n")

    with pytest.raises(UsageError, match="based on this one"):
        load_recipe(str(one))
    one.write_text("base: [x]\n")
    with pytest.raises(UsageError, match="should be the name of a recipe"):
        load_recipe(str(one))


def test_what_is_good_stays_good() -> None:
    assert json_of('{"a": [1, -2.5, 18446744073709551615, null, true, "\\udcff"]}')["a"][:3] == [1, -2.5, 2**64 - 1]
    assert yaml_of("a: &x {b: 1}\nc: *x\nd: [1, 0x10, .inf]\n") == {
        "a": {"b": 1}, "c": {"b": 1}, "d": [1, 16, float("inf")],
    }  # fmt: skip
    assert yaml_of("") is None
