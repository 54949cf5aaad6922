"""Pictures of a fixed slice while a training runs: low dose, denoised so far, full dose."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ldctpipe.training.scalars import ScalarLog
from ldctpipe.training.validation import Validation


class Previews:
    """Writes `folder/iteration-NNNNNNN.png`, and to TensorBoard, each `every` iterations at most."""

    def __init__(self, folder: Path, validation: Validation, every: int, log: ScalarLog, explain: bool) -> None:
        self._folder, self._validation, self._every, self._log = folder, validation, every, log
        self._explain = explain

    @classmethod
    def over_run(cls, folder, validation, recipe, log, request):
        return cls(folder, validation, 1, log, request.explain)

    def show(self, iteration: int, network: nn.Module, device: torch.device) -> None:
        """Write the picture of this moment where it is time for one."""
