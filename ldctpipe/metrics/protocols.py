"""Measuring protocols as data: which window, data range, SSIM form and mask a figure was made with."""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict

from ldctpipe.errors import UsageError

DEFAULT_PROTOCOL = "mayo-soft"


class SsimForm(BaseModel):
    """The constants of SSIM: Gaussian window of `window` pixels a side and `sigma` pixels, K1 and K2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int
    sigma: float
    k1: float
    k2: float


class MaskRule(BaseModel):
    """Which pixels count: not the padding, not below `below_hu`, and only above `above_hu` (of the reference)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    padding: bool
    below_hu: float
    above_hu: float | None = None


class Protocol(BaseModel):
    """One way to measure; see `protocols.yaml` for what each value means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    title: str
    source: str
    window_hu: tuple[float, float]
    data_range_hu: float
    hu_offset: float
    ssim: SsimForm
    mask: MaskRule

    @property
    def label(self) -> str:
        """The name that stands beside every figure: `mayo-soft@1`."""
        return f"{self.name}@{self.version}"

    @property
    def mask_text(self) -> str:
        """The mask rule as a clause for people."""
        rule = f"without padding and without fill below {self.mask.below_hu:g} HU"
        return (
            rule
            if self.mask.above_hu is None
            else f"{rule}, only where the reference is above {self.mask.above_hu:g} HU"
        )


@cache
def all_protocols() -> tuple[Protocol, ...]:
    """Return every protocol that the package knows, the default first."""
    text = resources.files("ldctpipe.metrics").joinpath("protocols.yaml").read_text(encoding="utf-8")
    return tuple(Protocol.model_validate(entry) for entry in yaml.safe_load(text)["protocols"])


def find_protocol(wanted: str) -> Protocol:
    """Return the protocol called `wanted`: `mayo-soft` (its newest version) or `mayo-soft@1`.

    Raises `UsageError` for a name or version that does not exist.
    """
    name, _, version = wanted.partition("@")
    fitting = [p for p in all_protocols() if p.name == name and version in ("", str(p.version))]
    if not fitting:
        known = ", ".join(protocol.label for protocol in all_protocols())
        raise UsageError(None, f"there is no protocol {wanted!r}", f"choose one of {known}")
    return max(fitting, key=lambda protocol: protocol.version)
