"""The content of a denoiser bundle's `card.json`, checked once when it is read.

All values except checksums may be missing: bundles of earlier versions have fewer, and later ones may have more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ldctpipe.errors import InputError
from ldctpipe.files import read_object

CARD_FORMAT: Literal["ldctpipe-bundle@1"] = "ldctpipe-bundle@1"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    # Strict: the text "5" is not a number, and readers of a card format its numbers.
    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


class _Weights(_Part):
    file: str = ""
    sha256: str = ""
    parameters: int | None = None


class _Cost(_Part):
    slice: Annotated[list[int], Field(min_length=2)]
    gflop: float | None = None
    seconds: float | None = None


class _Training(_Part):
    iterations: int | None = None
    stopped_because: str | None = None
    kept: str = ""
    best_iteration: int | None = None
    validation_loss: float | None = None
    rollbacks: int | None = None
    seconds: Annotated[float | None, Field(ge=0, lt=1e12)] = None
    device: str | None = None
    devices: int = 1
    precision: str | None = None
    compiled: dict[str, str] = {}
    seed: int | None = None


_SizeMm = Annotated[float, Field(gt=0, lt=1e6)]
_EndsMm = Annotated[list[_SizeMm], Field(min_length=2, max_length=2)]


class _Voxels(_Part):
    """The least and the largest of each over the series that were trained on."""

    slice_spacing_mm: _EndsMm | None = None
    pixel_mm: _EndsMm | None = None
    thickness_mm: _EndsMm | None = None


class _Data(_Part):
    patients: list[str] = []
    validation_patients: list[str] = []
    slices: int | dict[str, int] | None = None
    store_sha256: str | None = None
    voxels: _Voxels | None = None


class _Normalization(_Part):
    lower_hu: float
    upper_hu: float


class Told(_Part):
    """What a report shows of a bundle; a card tells the same of each bundle that its training started from."""

    name: str = ""
    title: str = ""
    intended_use: str = ""
    recipe_sha256: str = ""
    weights: _Weights = _Weights()
    cost: _Cost | None = None
    pretrained: bool = False
    training: _Training = _Training()
    data: _Data = _Data()
    normalization: _Normalization | None = None
    versions: dict[str, str] = {}
    revision: str | None = None
    notes: list[str] = []
    lineage: list[Told] = []


class _CheckedWeights(_Weights):
    sha256: Sha256


class Card(Told):
    """The card of a bundle that can be used: it names the checksums of weights and recipe."""

    format: Literal["ldctpipe-bundle@1"]
    recipe_sha256: Sha256
    weights: _CheckedWeights


def read_card(path: Path, *, of: type[Told] = Card) -> dict[str, Any]:
    """Return the card in `path`, each of its values of the type that `of` says.

    Raises `InputError` for another file, or for a value of another type.
    """
    told = read_object(path, "a denoiser bundle")
    if of is Card and told.get("format") != CARD_FORMAT:
        raise InputError(path, f"is not a card of format {CARD_FORMAT}", "give a folder that `ldctpipe train` wrote")
    try:
        of.model_validate_json(json.dumps(told))  # strict JSON: whole numbers and lists, but no "5" for 5
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"is not a denoiser bundle's card ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise InputError(path, fault, "take an unaltered copy of the bundle") from None
    return told
