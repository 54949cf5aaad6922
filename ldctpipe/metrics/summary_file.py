"""The content of an evaluation's `summary.json`, checked once when it is read: a report formats its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ldctpipe.errors import InputError
from ldctpipe.files import read_object
from ldctpipe.metrics.endpoints import ST_LPIPS
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.slices import BASELINE, MEASURES
from ldctpipe.metrics.summary import FORMAT, TESTED

_BEFORE = "ldctpipe-evaluation@1"
_AGAIN = "run `ldctpipe evaluate` again"
_DISTANCES = ("kid", "fid")


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


_Measure = Literal["psnr_db", "ssim", "rmse_hu", "st_lpips"]


class _Value(_Part):
    mean: float | None
    n: int | None = None
    sd: float | None = None
    ci95: tuple[float, float] | None = None
    bca95: tuple[float, float] | None = None
    slice_sd: float | None = None


class _Test(_Part):
    measure: str
    n_patients: int
    median_difference: float
    p: float
    p_holm: float


class _Comparison(_Part):
    measure: _Measure
    method: str
    baseline: str
    role: str
    n_patients: int
    difference: _Value
    rank_biserial: float | None
    improved_percent: float | None
    compared: int
    smallest_p_holm: float
    test: str | None
    p: float | None
    p_holm: float | None
    note: str | None

    @model_validator(mode="after")
    def _is_complete(self) -> _Comparison:
        if self.difference.mean is not None and self.improved_percent is None:
            raise ValueError("it has no improved_percent")
        if self.p is not None and (self.p_holm is None or self.test is None):
            raise ValueError("it has no p_holm or no test")
        return self


class _Equivalence(_Part):
    measure: str
    tissue: str
    method: str
    role: str
    n_patients: int
    margin_hu: float
    mean: float | None
    ci90: tuple[float, float] | None
    equivalent: bool | None

    @model_validator(mode="after")
    def _is_complete(self) -> _Equivalence:
        if (self.mean is None or self.ci90 is None) and self.equivalent is not None:
            raise ValueError("it has no mean or no ci90")
        return self


class _Primary(_Part):
    measure: _Measure
    against: str


class _Safety(_Part):
    margin_hu: float


class _Endpoints(_Part):
    primary: _Primary
    safety: _Safety


class _Distances(_Part):
    methods: dict[str, dict[str, Any]]


class _StLpips(_Part):
    weights_sha256: str


class _IntervalForm(_Part):
    method: str
    least_patients: int | None = None
    resamples: int | None = None
    seed: int | None = None


class _Summary(_Part):
    """What the report of a sweep needs: the figures of its trainings."""

    format: Literal["ldctpipe-evaluation@2"]
    protocol: str
    protocol_definition: Protocol
    methods: dict[str, dict[str, _Value]]
    gains: dict[str, dict[str, _Value]]
    patients: dict[str, dict[str, dict[str, float | None]]]
    n_patients: int
    n_slices: int
    warnings: list[str]
    feature_distances: _Distances | None = None
    st_lpips: _StLpips | None = None
    versions: dict[str, str] = {}
    inputs: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_consistent(self) -> _Summary:
        for fault in self.faults():
            raise ValueError(fault)
        return self

    @property
    def _measures(self) -> tuple[str, ...]:
        return TESTED

    def faults(self) -> Iterator[str]:
        """Yield what contradicts itself or is missing."""
        if BASELINE not in self.methods or len(self.methods) < 2:
            yield f"it needs the methods {BASELINE} and another one"
        for name, values in self.methods.items():
            for measure in self._measures:
                if measure not in values:
                    yield f"{name} has no {measure}"
            if name != BASELINE and "psnr_db" not in self.gains.get(name, {}):
                yield f"{name} has no gain in PSNR"
            if self.feature_distances is not None and name != BASELINE:
                yield from self._faults_of_distances(self.feature_distances.methods.get(name, {}), name)

    def _faults_of_distances(self, values: dict[str, Any], name: str) -> Iterator[str]:
        for distance in _DISTANCES:
            if not isinstance(values.get(distance, ""), (float, int, type(None))):
                yield f"{name} has no {distance}"


class _WholeSummary(_Summary):
    """What the report of one run needs."""

    slices_per_patient: dict[str, int]
    tests: list[_Test]
    comparisons: list[_Comparison]
    equivalence: list[_Equivalence]
    endpoints: _Endpoints | None
    intervals: dict[str, _IntervalForm]
    notes: dict[str, str]

    @property
    def _measures(self) -> tuple[str, ...]:
        return (*MEASURES, *((ST_LPIPS.measure,) if self.st_lpips else ()))

    def faults(self) -> Iterator[str]:
        """Yield what contradicts itself or is missing."""
        yield from super().faults()
        if self.feature_distances is not None:
            yield from self._faults_of_distances(self.feature_distances.methods.get(BASELINE, {}), BASELINE)
        for patient, methods in self.patients.items():
            if BASELINE not in methods:
                yield f"patient {patient} has no {BASELINE}"
            for values in methods.values():
                if missing := [measure for measure in TESTED if measure not in values]:
                    yield f"patient {patient} has no {missing[0]}"


def read_summary(path: Path, *, of_sweep: bool = False) -> dict[str, Any]:
    """Return the summary in `path`, complete for the report of one run, or `of_sweep` for that of many.

    One of format 1 is returned as format 2 without what that lacked: named endpoints, comparisons and equivalence.
    Raises `InputError` for another file, or for a value that is missing or of another type.
    """
    summary = read_object(path, "a summary of `ldctpipe evaluate`")
    if summary.get("format") == _BEFORE:
        summary = _upgraded(summary)
    if summary.get("format") != FORMAT:
        raise InputError(path, f"is not of format {FORMAT}", _AGAIN)
    try:
        (_Summary if of_sweep else _WholeSummary).model_validate_json(json.dumps(summary))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the summary"
        raise InputError(path, f"is not a whole summary ({place}: {first['msg']})", _AGAIN) from None
    return summary


def _upgraded(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary of format 1, whose intervals were percentile intervals of a bootstrap, in the form of 2."""
    bootstrap = summary.get("bootstrap")
    form = {"method": "percentile bootstrap", **bootstrap} if isinstance(bootstrap, dict) else bootstrap
    absent: dict[str, Any] = {"endpoints": None, "comparisons": [], "equivalence": [], "st_lpips": None}
    return summary | absent | {"format": FORMAT, "intervals": {"ci95": form}}
