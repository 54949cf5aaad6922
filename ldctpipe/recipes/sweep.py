"""What a sweep may say: named changes to one recipe, with the published figures of each where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from ldctpipe.errors import UsageError
from ldctpipe.foreign import read_yaml

_SHIPPED = Path(__file__).parent / "sweeps"
MeanAndSpread = tuple[float, float]
# What a name or a change may hold becomes the name of a folder and an argument of a command.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)]
Override = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+=[A-Za-z0-9_.,:@/+\[\] -]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PublishedPoint(_Section):
    """What a publication says of one point: mean and standard deviation over its trainings, and its remark."""

    psnr_db: MeanAndSpread | None = None
    ssim: MeanAndSpread | None = None
    rmse_hu: MeanAndSpread | None = None
    fid: MeanAndSpread | None = None
    remark: str | None = None


class PublishedSweep(_Section):
    """What the published figures were measured with: they are comparable with nothing else.

    `recipe` is what all points change, and missing where each has its own.
    """

    recipe: str | None = None
    data: str
    patients: Annotated[tuple[str, ...], Field(min_length=1)]
    slices: PositiveInt | None = None
    protocol: str
    repeats: PositiveInt


class SweepPoint(_Section):
    """One row of the table: what is changed in the recipe; nothing for a row that is the recipe itself.

    `recipe` is the point's own where the sweep compares recipes, `small` what makes it small enough for a trial of the
    whole sweep on two cores. `init` names the point whose bundles its trainings start from, each from that of its seed.
    """

    name: Name
    recipe: Name | None = None
    init: Name | None = None
    overrides: tuple[Override, ...] = ()
    small: tuple[Override, ...] = ()
    published: PublishedPoint | None = None


class Sweep(_Section):
    """A table to be trained; `columns` maps each key of the recipe that it shows to the column's heading."""

    name: Name
    title: str
    source: str = ""
    columns: Annotated[dict[str, str], Field(min_length=1)]
    published: PublishedSweep | None = None
    points: Annotated[tuple[SweepPoint, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Sweep:
        if twice := _repeated(point.name for point in self.points):
            raise ValueError(f"two points are named {twice}")
        if len({point.recipe is None for point in self.points}) > 1:
            raise ValueError("either all points name a recipe, or none does")
        if wrong := next(self._wrong_starts(), None):
            raise ValueError(wrong)
        if self.published is None and any(point.published for point in self.points):
            raise ValueError("points have published figures, but the section `published` is missing")
        return self

    def _wrong_starts(self) -> Iterator[str]:
        starts = {point.name: point.init for point in self.points}
        for name, init in starts.items():
            if init == name:
                yield f"point {name} can't start from itself"
            elif init is not None and init not in starts:
                yield f"point {name} starts from {init}, which is no point of the sweep"
            elif init is not None and starts[init] is not None:
                yield f"point {name} starts from {init}, which starts from {starts[init]}: one step is all there may be"

    @property
    def compares_recipes(self) -> bool:
        """Whether each point has a recipe of its own, and not all of them change one."""
        return self.points[0].recipe is not None


def shipped_sweeps() -> list[str]:
    """Return the names of the sweeps that the package ships, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_sweep(name_or_file: str) -> Sweep:
    """Return a shipped sweep by name, or the one in a YAML file; raises `UsageError` where it is none."""
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        path = _SHIPPED / f"{name_or_file}.yaml"
    if not path.is_file():
        known = ", ".join(shipped_sweeps())
        raise UsageError(None, f"there is no sweep {name_or_file!r}", f"take one of {known}, or give a .yaml file")
    try:
        return Sweep.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the sweep"
        raise UsageError(path, f"{place}: {first['msg']}", "docs/sweeps.md shows the form of a sweep") from None
    except ValueError as error:
        raise UsageError(path, f"is not YAML ({' '.join(str(error).split())})", "correct the file") from None


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
