"""The training log: one CSV that the report reads, and the same scalars for TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ldctpipe.files import new_file

# Those of the flagship's algorithm, in order; others get columns of their own behind them.
COLUMNS = (
    "iteration", "loss_generator", "loss_adversarial", "loss_pixel", "loss_perceptual", "loss_critic", "wasserstein",
    "gradient_penalty", "gradient_norm_generator", "gradient_norm_critic", "gradient_norm_adversarial",
    "gradient_norm_pixel", "gradient_norm_perceptual", "learning_rate_generator", "learning_rate_critic",
    "validation_loss", "validation_psnr_db", "validation_ssim", "validation_rmse_hu", "iteration_s", "memory_mib",
    "seconds",
)  # fmt: skip


class ScalarLog:
    """Appends rows to `path`; a resumed training drops the rows behind its checkpoint first."""

    def __init__(self, path: Path, first_iteration: int, tensorboard: Path) -> None:
        self._path, self._tensorboard = path, tensorboard
        self._writer: Any = None
        self._durations_s: list[float] = []
        self._columns: list[str] = []
        self.cut_back(first_iteration)

    def count(self, duration_s: float) -> None:
        """Note how long an iteration took; the next row has their mean since the row before."""
        self._durations_s.append(duration_s)

    def add(self, iteration: int, scalars: dict[str, float]) -> None:
        """Append one row; scalars that were not measured stay empty."""
        timed = {"iteration_s": sum(self._durations_s) / len(self._durations_s)} if self._durations_s else {}
        self._durations_s = []
        row = {"iteration": iteration, **{name: f"{value:.6g}" for name, value in (scalars | timed).items()}}
        if new := [name for name in row if name not in self._columns]:
            self._write([*self._columns, *new], self._rows())
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self._columns).writerow(row)
        for name, value in (scalars | timed).items():
            self._writer.add_scalar(name, value, iteration)

    def add_picture(self, iteration: int, name: str, rgb: Any) -> None:
        """Show a picture, uint8 of shape (rows, columns, 3), in TensorBoard."""
        self._writer.add_image(name, rgb, iteration, dataformats="HWC")

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        self._writer.close()

    def cut_back(self, iteration: int) -> None:
        """Drop all rows after `iteration`, from which the training goes on."""
        rows = self._rows() if self._path.exists() and iteration > 0 else []
        kept = [row for row in rows if int(row["iteration"] or 0) <= iteration]
        self._write(list(dict.fromkeys([*COLUMNS, *(name for row in kept for name in row)])), kept)
        if self._writer is not None:
            self._writer.close()
        self._writer = _tensorboard_writer(self._tensorboard, iteration)

    def _rows(self) -> list[dict[str, str]]:
        with self._path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def _write(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        """Write the log anew with these columns."""
        self._columns = columns
        with new_file(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(rows)


def _tensorboard_writer(folder: Path, first_iteration: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # a second of import that other commands do without

    return SummaryWriter(str(folder), purge_step=first_iteration + 1)  # what is purged starts with this step
