"""Which recipes learn: each at reduced size, until it beats its input by 1 dB on a held-out phantom slice.

    make test-learning                                            # every recipe; a rerun continues with those missing
    .venv/bin/python benchmarks/learning.py --only red-cnn nafnet # these; --again for those that have a row already

`learning.yaml` says what makes a recipe small. Each is trained by `ldctpipe train` in a process of its own on the
slices of two simulated patients, and stopped once its PSNR (protocol `mayo-soft`) on one slice of a third patient is
1 dB above the low dose's, or after `--limit` seconds. No ImageNet weights are used. Its row is written to
benchmarks/results/learning.json as soon as it is done.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "learning.json"
WANTED_DB = 1.0
NO_TRAINING = ("strength_tuning",)

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How a recipe is made small; `card` says why it may not learn."""

    recipe: str
    overrides: tuple[str, ...]
    card: str | None


def plans() -> dict[str, Plan]:
    """Return the plans of `learning.yaml` by recipe, in its order."""
    content = yaml.safe_load((HERE / "learning.yaml").read_text(encoding="utf-8"))
    most = content["iterations"]
    return {
        name: Plan(
            name,
            (*content["common"], *entry.get("set", ()), f"training.iterations={entry.get('iterations', most)}"),
            entry.get("card"),
        )
        for name, entry in content["recipes"].items()
    }


def trainable_recipes() -> list[str]:
    """Return the names of shipped recipes that train a network."""
    from ldctpipe.recipes.library import load_recipe, shipped_names

    return [name for name in shipped_names() if load_recipe(name).algorithm.name not in NO_TRAINING]


def make_store(folder: Path) -> Path:
    """Return a training store in `folder`: 12 slices of two simulated patients, and 6 of a third for validation."""
    from ldctpipe.data.preparation import prepare_store
    from ldctpipe.data.samplesheet import rows_of_cohort, write_sheet
    from ldctpipe.simulation.cohort import make_phantom_cohort

    if not (folder / "store").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        make_phantom_cohort(folder / "cohort", 3, 6, 7, size=192, overwrite=True)
        rows = rows_of_cohort(folder / "cohort")
        # the last patient is held out
        write_sheet(
            folder / "sheet.csv", [replace(row, split="validation") if row.split == "test" else row for row in rows]
        )
        prepare_store(folder / "sheet.csv", folder / "store")
    return folder / "store"


def input_psnr_db(store: Path, plan: Plan) -> float:
    """Return the PSNR of the low dose on the held-out slice."""
    from ldctpipe.data.store import open_store
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.training.assembly import build_validation
    from ldctpipe.training.launch import launch_fabric

    recipe = load_recipe(plan.recipe, plan.overrides)
    validation = build_validation(open_store(store), recipe, None)
    measured = validation.run(CenterSlice(recipe.data.context), launch_fabric(recipe, "cpu"))
    if measured.psnr_db is None:
        raise ValueError("the held-out slice has no PSNR")
    return measured.psnr_db


class CenterSlice(nn.Module):
    """A network that leaves the image as it is."""

    def __init__(self, context: int) -> None:
        super().__init__()
        self.context = context

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, self.context, None]


def learn(plan: Plan, store: Path, work: Path, limit_s: float, threads: int) -> Row:
    """Train a recipe until it has gained what is wanted, or its iterations or seconds are over; return its row."""
    before = input_psnr_db(store, plan)
    bundle = work / plan.recipe
    for leftover in (bundle, checkpoints_of(bundle)):
        shutil.rmtree(leftover, ignore_errors=True)
    started, used = time.monotonic(), cpu_seconds()
    failure = train(plan, store, bundle, before, limit_s, threads)
    best = best_validation(checkpoints_of(bundle) / "training.csv")
    gain = best[1] - before if best else None
    learned = gain is not None and gain >= WANTED_DB
    return {
        "recipe": plan.recipe,
        "iterations": best[0] if best else 0,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(cpu_seconds() - used, 1),
        "input_psnr_db": round(before, 3),
        "best_psnr_db": round(best[1], 3) if best else None,
        "gain_db": round(gain, 3) if gain is not None else None,
        "verdict": "learns" if learned else plan.card or failure or f"gains less than {WANTED_DB:g} dB",
        "overrides": list(plan.overrides),
        "machine": machine(threads),
    }


def train(plan: Plan, store: Path, bundle: Path, before: float, limit_s: float, threads: int) -> str:
    """Train until what is wanted has been gained or `limit_s` is over; return the last words of one that failed."""
    bundle.parent.mkdir(parents=True, exist_ok=True)
    errors = bundle.with_suffix(".stderr")
    program = Path(sys.executable).with_name("ldctpipe")
    command: list[Any] = [program, "train", store, bundle, "--recipe", plan.recipe, "--no-pretrained"]
    command += ["--device", "cpu", "--threads", threads, "--previews", 0]
    command += [part for override in plan.overrides for part in ("--set", override)]
    ends, stopped = time.monotonic() + limit_s, False
    with errors.open("wb") as stream, subprocess.Popen([str(part) for part in command], stderr=stream) as process:
        while process.poll() is None:
            time.sleep(0.5)
            best = best_validation(checkpoints_of(bundle) / "training.csv")
            if (best and best[1] - before >= WANTED_DB) or time.monotonic() > ends:
                stopped = True
                process.terminate()
                process.wait()
    lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "" if stopped or process.returncode == 0 else (lines or ["failed"])[-1]


def cpu_seconds() -> float:
    """Return the processor time of all trainings that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def best_validation(log: Path) -> tuple[int, float] | None:
    """Return iteration and PSNR of the best validation that a training has logged so far."""
    if not log.is_file():
        return None
    with log.open(newline="", encoding="utf-8") as stream:
        found = [(int(row["iteration"]), row.get("validation_psnr_db")) for row in csv.DictReader(stream)]
    measured = [(iteration, float(psnr)) for iteration, psnr in found if psnr]
    return max(measured, key=lambda pair: pair[1], default=None)


def checkpoints_of(bundle: Path) -> Path:
    """Return the folder that `ldctpipe train` keeps checkpoints in."""
    return bundle.with_name(bundle.name + ".checkpoints")


def machine(threads: int) -> str:
    """Return what a row was measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{names[0] if names else platform.machine()}, {cores}, torch {torch.__version__}"


def table_of(rows: list[Row]) -> list[str]:
    """Return the lines of the table."""
    head = ("iterations", "s", "CPU s", "input dB", "best dB", "gain dB")
    keys = ("iterations", "seconds", "cpu_seconds", "input_psnr_db", "best_psnr_db", "gain_db")
    lines = [f"{'recipe':30}" + "".join(f"{name:>11}" for name in head) + "  verdict"]
    for row in rows:
        cells = ["–" if row[key] is None else f"{row[key]:.{2 * key.endswith('_db')}f}" for key in keys]
        lines.append(f"{row['recipe']:30}" + "".join(f"{cell:>11}" for cell in cells) + f"  {row['verdict']}")
    return lines


def read_rows(path: Path) -> dict[str, Row]:
    """Return the rows that are done, by recipe."""
    return {row["recipe"]: row for row in json.loads(path.read_text(encoding="utf-8"))} if path.is_file() else {}


def write_rows(path: Path, rows: dict[str, Row], order: list[str]) -> None:
    """Write the rows in the order of the plans."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = [rows[name] for name in order if name in rows]
    temporary = path.with_name(path.name + ".unfinished")
    temporary.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="RECIPE", choices=plans(), help="these recipes")
    parser.add_argument("--again", action="store_true", help="train recipes that have a row already, too")
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS", help="for one recipe")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("work/learning"), help="for the store and the trainings")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    known = plans()
    rows = read_rows(options.out)
    chosen = [known[name] for name in options.only or known]
    store = make_store(options.work)
    for plan in chosen:
        row = rows.get(plan.recipe)
        if row and row["overrides"] == list(plan.overrides) and not options.again:
            continue
        print(f"{plan.recipe} …", file=sys.stderr, flush=True)
        rows[plan.recipe] = learn(plan, store, options.work, options.limit, options.threads)
        write_rows(options.out, rows, list(known))
        print("\n".join(table_of([rows[plan.recipe]])[1:]), flush=True)
    print("\n".join(table_of([rows[plan.recipe] for plan in chosen])))
    failed = [plan.recipe for plan in chosen if rows[plan.recipe]["verdict"] not in ("learns", plan.card)]
    if failed:
        raise SystemExit(f"did not gain {WANTED_DB:g} dB: {', '.join(failed)}")


if __name__ == "__main__":
    main()
