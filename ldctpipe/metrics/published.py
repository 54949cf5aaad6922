"""Published figures as data, and what in them can't be true."""

from __future__ import annotations

from functools import cache
from importlib import resources
from math import log10

import yaml
from pydantic import BaseModel, ConfigDict

MeanAndSpread = tuple[float, float]


class PublishedRow(BaseModel):
    """One method of a published table: mean and spread of each measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    psnr_db: MeanAndSpread
    ssim: MeanAndSpread
    rmse_hu: MeanAndSpread
    fid: MeanAndSpread

    @property
    def cells(self) -> tuple[str, str, str]:
        """PSNR, SSIM and RMSE as they are printed: mean ± spread."""
        return (
            "{:.2f} ± {:.2f}".format(*self.psnr_db),
            "{:.3f} ± {:.3f}".format(*self.ssim),
            "{:.2f} ± {:.2f}".format(*self.rmse_hu),
        )


class PublishedTable(BaseModel):
    """A published table with where it comes from and what it was measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    data: str
    patient: str
    slices: int
    protocol: str
    data_range_hu: float
    baseline: str
    critic_loss_band: float
    rows: tuple[PublishedRow, ...]

    def gain_db(self, row: PublishedRow) -> float:
        """Return how many dB `row` lies above the low-dose row of its own table."""
        (baseline,) = (each for each in self.rows if each.method == self.baseline)
        return row.psnr_db[0] - baseline.psnr_db[0]

    def remark(self, row: PublishedRow) -> str | None:
        """Return why the PSNR and RMSE printed in `row` can't both be true, or None.

        PSNR = 20·log10(range/RMSE) is convex in RMSE, so by Jensen's inequality the mean PSNR over slices is at least
        the PSNR of the mean RMSE.
        """
        least_db = 20 * log10(self.data_range_hu / row.rmse_hu[0])
        psnr_db, spread_db = row.psnr_db
        if psnr_db + spread_db >= least_db:
            return None
        return (
            f"{psnr_db:.2f} dB and an RMSE of {row.rmse_hu[0]:.2f} HU contradict each other: "
            f"with a data range of {self.data_range_hu:g} HU that RMSE means {least_db:.1f} dB at least"
        )


@cache
def published_table() -> PublishedTable:
    """Return the table of L506 that the default protocol is anchored to."""
    text = resources.files("ldctpipe.metrics").joinpath("published.yaml").read_text(encoding="utf-8")
    return PublishedTable.model_validate(yaml.safe_load(text))
