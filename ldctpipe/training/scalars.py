"""The training log: one CSV that the report reads, and the same scalars for TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ldctpipe.files import new_file

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
        self.cut_back(first_iteration)

    def count(self, duration_s: float) -> None:
        """Note how long an iteration took; the next row has their mean since the row before."""
        self._durations_s.append(duration_s)

    def add(self, iteration: int, scalars: dict[str, float]) -> None:
        """Append one row; scalars that were not measured stay empty."""
        timed = {"iteration_s": sum(self._durations_s) / len(self._durations_s)} if self._durations_s else {}
        self._durations_s = []
        row = {"iteration": iteration, **{name: f"{value:.6g}" for name, value in (scalars | timed).items()}}
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS).writerow(row)
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
        kept = []
        if self._path.exists():
            with self._path.open(newline="", encoding="utf-8") as stream:
                kept = [row for row in csv.DictReader(stream) if int(row["iteration"] or 0) <= iteration]
        with new_file(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            if iteration > 0:
                writer.writerows(kept)
        if self._writer is not None:
            self._writer.close()
        self._writer = _tensorboard_writer(self._tensorboard, iteration)


def _tensorboard_writer(folder: Path, first_iteration: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # a second of import that other commands do without

    return SummaryWriter(str(folder), purge_step=first_iteration + 1)  # what is purged starts with this step
