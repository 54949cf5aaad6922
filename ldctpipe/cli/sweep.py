"""`ldctpipe sweep`: the trainings that a sweep takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet, Seed


def command(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="table1, table2, table3 or a .yaml file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.csv", help="Table of runs to write.")],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Name (`ldctpipe recipes`) or a .yaml file; not for a sweep over recipes."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe for all runs; repeatable."),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Trainings of each point.")] = 10,
    seed: Seed = 1,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained/--no-pretrained", help="As the trainings will be: without, the perceptual loss is left out."
        ),
    ] = True,
    small: Annotated[
        bool,
        typer.Option("--small", help="Cut the networks down as the sweep says, for a trial of the whole on a CPU."),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Check a sweep against a recipe and write its runs: id, point, recipe, repeat, seed, same_as, init, overrides.

    A sweep is a list of points, each with what it changes in the recipe (docs/sweeps.md). Each point is trained
    --repeats times, with the seeds SEED, SEED+1, …. A run with `same_as` would be the same training as that other run
    and needs none of its own; one with `init` starts from that other run's bundle. The whole plan, which `ldctpipe
    sweep-report` reads, goes to OUT.json beside the table.
    """
    from ldctpipe.errors import UsageError
    from ldctpipe.files import refuse_existing
    from ldctpipe.progress import say
    from ldctpipe.recipes.sweep import load_sweep
    from ldctpipe.recipes.sweep_plan import plan_sweep, write_plan

    if out.suffix != ".csv":
        raise UsageError(out, "is no name for a table", "give one that ends in .csv")
    inputs = [Path(given) for given in (sweep, recipe) if given and Path(given).is_file()]
    refuse_existing(out, overwrite=overwrite, inputs=inputs, starts=[b"id,point"])
    refuse_existing(
        out.with_suffix(".json"), overwrite=overwrite, inputs=inputs, starts=[b'{\n  "format": "ldctpipe-sweep-plan@']
    )
    plan = plan_sweep(
        load_sweep(sweep), recipe, overrides or (), pretrained=pretrained, small=small, repeats=repeats, seed=seed
    )
    for point in plan.points:
        if point.same_as:
            say(f"point {point.name} is the same training as {point.same_as}, which is trained once for both")
        elif point.init:
            say(f"point {point.name} starts from {point.init}, which is trained first")
    write_plan(plan, out)
    trained = sum(run.same_as is None for run in plan.runs)
    print(f"{out}: {len(plan.points)} points, {plan.repeats} repeats, {trained} trainings")
