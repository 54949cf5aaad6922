"""Which slices enter the means: the same ones for every measure and method, so that they can be compared.

PSNR is infinite if an image equals its reference, as it does if nothing of a slice lies inside the window.
Excluding such a slice from one measure alone would put means over different slices into one row.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

_OF_IMAGES = ("psnr_db", "ssim", "rmse_hu")


@dataclass(frozen=True)
class AveragedSlices:
    """The rows of the slice table that enter means, and the number of excluded slices for each reason."""

    rows: pd.DataFrame
    left_out: dict[str, int]

    @property
    def note(self) -> str | None:
        """A sentence with the number of excluded slices and the reasons; None if all enter the means."""
        if not self.left_out:
            return None
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{sum(self.left_out.values())} slice(s) are excluded from all means: {reasons}"


def averaged_slices(slices: pd.DataFrame) -> AveragedSlices:
    """Return the slices in which every method has every measure that it has in any slice.

    `slices` has the columns of `metrics.slices.COLUMNS`. A method that equals its reference in every slice has no PSNR
    at all, and is averaged over the slices of the others. Where no slice has all, PSNR is empty in all rows.
    """
    slices = slices.assign(number=slices.groupby("method").cumcount())  # all methods have the same slices in one order
    wide = slices.pivot(index="number", columns="method", values=list(_OF_IMAGES))
    known = wide.notna().loc[:, wide.notna().any()]
    complete = known.all(axis=1)
    if not complete.any():
        complete = known.drop(columns="psnr_db", level=0, errors="ignore").all(axis=1)
        slices = slices.assign(psnr_db=float("nan"))
    kept = slices["number"].isin(complete.index[complete])
    return AveragedSlices(slices[kept].drop(columns="number"), _reasons(wide[~complete]))


def _reasons(left_out: pd.DataFrame) -> dict[str, int]:
    rmse_hu = pd.DataFrame(left_out["rmse_hu"])
    unmeasured = rmse_hu.isna().any(axis=1)
    blank = (rmse_hu == 0).all(axis=1)
    equal = (rmse_hu == 0).loc[:, :].where(~blank, False)
    counts = {
        "without a pixel that the protocol measures": int(unmeasured.sum()),
        "in which all images are equal inside the window (an infinite PSNR)": int(blank.sum()),
    }
    for method in rmse_hu.columns:
        counts[f"in which {method} equals the full dose (an infinite PSNR)"] = int(equal[method].sum())
    rest = ~unmeasured & ~blank & ~equal.any(axis=1)
    counts["without a pixel that SSIM measures"] = int(rest.sum())
    return {reason: count for reason, count in counts.items() if count}
