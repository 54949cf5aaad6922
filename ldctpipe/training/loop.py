"""The training loop: iterations, schedule, validation, checkpoints, early stopping, logging, interruption."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from ldctpipe.data.sampling import PatchSampler
from ldctpipe.errors import InputError, StoppedEarly
from ldctpipe.progress import Progress, say
from ldctpipe.recipes.schema import Recipe
from ldctpipe.training.checkpoints import CheckpointFolder
from ldctpipe.training.interruption import Interruption, watch_signals
from ldctpipe.training.scalars import ScalarLog
from ldctpipe.training.schedule import rate_fraction
from ldctpipe.training.validation import Validation
from ldctpipe.training.wgan_gp import WganGp


@dataclass
class TrainingProgress:
    """Where a training stands; all of it goes into checkpoints."""

    iteration: int = 0  # finished iterations
    best_iteration: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0


@dataclass
class TrainingLoop:
    """Trains until the recipe's iterations are done or validation stops improving; every part is passed in."""

    fabric: Fabric
    recipe: Recipe
    algorithm: WganGp
    sampler: PatchSampler
    validation: Validation
    checkpoints: CheckpointFolder
    fingerprint: str  # of recipe, data and starting weights: a checkpoint of another run is refused
    log: ScalarLog
    progress: TrainingProgress

    def run(self) -> str:
        """Train to the end and return why it ended; raises `StoppedEarly` after a signal, with everything saved."""
        plan = self.recipe.training
        bar = Progress("training", plan.iterations, "iterations", done=self.progress.iteration)
        started = time.monotonic() - self.progress.seconds
        with watch_signals() as interruption:
            while self.progress.iteration < plan.iterations and not self._exhausted():
                losses = self._iterate()
                self.progress.seconds = time.monotonic() - started
                bar.advance(
                    note=f"best validation loss {self.progress.best_loss:.5f} at {self.progress.best_iteration}"
                )
                self._validate_and_log(losses)
                last = self._exhausted() or self.progress.iteration == plan.iterations
                if last or interruption.name or self.progress.iteration % plan.checkpoint_every == 0:
                    self.save()
                self._stop_if_asked(interruption)
        bar.finish()
        if self._exhausted():
            return f"validation did not improve for {plan.early_stopping_iterations} iterations"
        return "all iterations done"

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        state = {
            "progress": asdict(self.progress),
            "fingerprint": self.fingerprint,
            "algorithm": self.algorithm.state_dict(),
            "sampler": self.sampler.state_dict(),
        }
        self.checkpoints.save(self.progress.iteration, self.progress.best_iteration, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `save` wrote."""
        self.progress = TrainingProgress(**state["progress"])
        self.algorithm.load_state_dict(state["algorithm"])
        self.sampler.load_state_dict(state["sampler"])

    def _iterate(self) -> dict[str, Tensor]:
        fraction = rate_fraction(self.recipe.schedule, self.progress.iteration, self.recipe.training.iterations)
        losses = self.algorithm.step(self.sampler.batch, fraction)
        self.progress.iteration += 1
        return losses

    def _exhausted(self) -> bool:
        """Tell whether validation, where it took place, has not improved for as long as the recipe waits."""
        plan, iteration = self.recipe.training, self.progress.iteration
        validated = iteration > 0 and iteration % plan.validate_every == 0
        return validated and iteration - self.progress.best_iteration >= plan.early_stopping_iterations

    def _validate_and_log(self, losses: dict[str, Tensor]) -> None:
        """Validate and log where it is time to."""
        plan, iteration = self.recipe.training, self.progress.iteration
        validate = iteration % plan.validate_every == 0 or iteration == plan.iterations
        if not validate and iteration % plan.log_every and iteration > 1:
            return
        scalars = {name: float(value) for name, value in losses.items()}
        _require_finite(scalars, iteration)
        for name in ("generator", "critic"):
            optimizer = getattr(self.algorithm, f"{name}_optimizer")
            scalars[f"learning_rate_{name}"] = optimizer.param_groups[0]["lr"]
        if validate:
            scalars |= self._validate()
        self.log.add(iteration, {**scalars, "seconds": self.progress.seconds})

    def _validate(self) -> dict[str, float]:
        result = self.validation.run(self.algorithm.generator, self.fabric.device)
        iteration = self.progress.iteration
        if result.loss < self.progress.best_loss:
            self.progress.best_iteration, self.progress.best_loss = iteration, result.loss
            self.checkpoints.save_best(iteration, self.algorithm.generator)
        say(f"iteration {iteration}: validation loss {result.loss:.5f}, PSNR {result.psnr_db:.2f} dB")
        return {"validation_loss": result.loss, "validation_psnr_db": result.psnr_db}

    def _stop_if_asked(self, interruption: Interruption) -> None:
        if interruption.name:
            where = f"iteration {self.progress.iteration}"
            raise StoppedEarly(f"{interruption.name}: saved at {where}; the same command with --resume goes on there.")


def _require_finite(scalars: dict[str, float], iteration: int) -> None:
    for name, value in scalars.items():
        if not math.isfinite(value):
            fault = f"{name} is {value} at iteration {iteration}: the training diverged"
            raise InputError(None, fault, "lower the learning rates (--set optimizer.…) and train again")
