"""Which measures methods are compared by, and which one of them a report was made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ldctpipe.metrics.tissue import SOFT_TISSUE


@dataclass(frozen=True)
class Endpoint:
    """A measure by which methods are compared over patients: its column, its name and unit for people."""

    measure: str
    title: str
    unit: str
    digits: int
    higher_is_better: bool

    def text(self, difference: float) -> str:
        """Return a difference with sign and unit."""
        return f"{difference:+.{self.digits}f}{f' {self.unit}' if self.unit else ''}"


ENDPOINTS = (
    Endpoint("psnr_db", "PSNR", "dB", 2, True),
    Endpoint("ssim", "SSIM", "", 3, True),
    Endpoint("rmse_hu", "RMSE", "HU", 2, False),
)
ST_LPIPS = Endpoint("st_lpips", "ST-LPIPS", "", 4, False)  # only where it was measured
DEFAULT_PRIMARY = ENDPOINTS[0].measure
PRIMARY, SAFETY, SECONDARY, EXPLORATORY = "primary", "safety", "secondary", "exploratory"


def find_endpoint(measure: str) -> Endpoint:
    """Return the endpoint of a measure."""
    return next(endpoint for endpoint in (*ENDPOINTS, ST_LPIPS) if endpoint.measure == measure)


def endpoints_as_json(primary: str, baseline: str) -> dict[str, Any]:
    """Return what a report was made for: the primary and the safety endpoint; all other figures are secondary."""
    return {
        PRIMARY: {"measure": primary, "against": baseline, "unit": "patient"},
        SAFETY: {"measure": SOFT_TISSUE.measure, "margin_hu": SOFT_TISSUE.gate_hu, "unit": "patient"},
    }
