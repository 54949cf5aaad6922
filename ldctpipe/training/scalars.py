"""The training log: one CSV that the report reads, and the same scalars for TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path

from ldctpipe.files import new_file

COLUMNS = (
    "iteration", "loss_generator", "loss_adversarial", "loss_pixel", "loss_perceptual", "loss_critic", "wasserstein",
    "gradient_penalty", "learning_rate_generator", "learning_rate_critic", "validation_loss", "validation_psnr_db",
    "seconds",
)  # fmt: skip


class ScalarLog:
    """Appends rows to `path`; a resumed training drops the rows behind its checkpoint first."""

    def __init__(self, path: Path, first_iteration: int, tensorboard: Path | None = None) -> None:
        self._path = path
        self._rewrite(first_iteration)
        self._writer = _tensorboard_writer(tensorboard, first_iteration) if tensorboard else None

    def add(self, iteration: int, scalars: dict[str, float]) -> None:
        """Append one row; scalars that were not measured stay empty."""
        row = {"iteration": iteration, **{name: f"{value:.6g}" for name, value in scalars.items()}}
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS).writerow(row)
        if self._writer:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self._writer:
            self._writer.close()

    def _rewrite(self, first_iteration: int) -> None:
        kept = []
        if self._path.exists():
            with self._path.open(newline="", encoding="utf-8") as stream:
                kept = [row for row in csv.DictReader(stream) if int(row["iteration"] or 0) <= first_iteration]
        with new_file(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            if first_iteration > 0:
                writer.writerows(kept)


def _tensorboard_writer(folder: Path, first_iteration: int):  # type: ignore[no-untyped-def]
    from torch.utils.tensorboard import SummaryWriter  # a second of import that short runs can do without

    return SummaryWriter(str(folder), purge_step=first_iteration or None)
