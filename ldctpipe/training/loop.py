"""The training loop: iterations, schedule, validation, checkpoints, early stopping, logging, interruption."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from ldctpipe.data.sampling import PatchSampler
from ldctpipe.errors import ExitCode, InputError, StoppedEarly
from ldctpipe.progress import Progress, say, warn
from ldctpipe.recipes.schema import Recipe
from ldctpipe.training.algorithm import Algorithm
from ldctpipe.training.checkpoints import CheckpointFolder
from ldctpipe.training.divergence import MOST_ROLLBACKS, Diverged, require_finite, require_finite_weights
from ldctpipe.training.early_stopping import CycleLosses, ends_cycle, judged
from ldctpipe.training.interruption import watch_signals
from ldctpipe.training.memory import memory_mib
from ldctpipe.training.previews import Previews
from ldctpipe.training.randomness import Randomness
from ldctpipe.training.ranks import agreed, gather_objects, leave, mean_over_ranks
from ldctpipe.training.scalars import ScalarLog
from ldctpipe.training.schedule import rate_fraction
from ldctpipe.training.validation import Validation, ValidationResult


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands; all of it goes into checkpoints."""

    iteration: int = 0  # finished iterations
    best_iteration: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    rollbacks: int = 0  # returns to the last good state, after the training had diverged
    cycle_losses: CycleLosses = field(default_factory=CycleLosses)


@dataclass
class TrainingLoop:
    """Trains until the recipe's iterations are done or validation stops improving; every part is passed in."""

    fabric: Fabric
    recipe: Recipe
    algorithm: Algorithm
    sampler: PatchSampler
    validation: Validation
    checkpoints: CheckpointFolder
    fingerprint: str  # of recipe, data and starting weights: a checkpoint of another run is refused
    log: ScalarLog | None  # of the first rank alone, which is the only one to write
    previews: Previews | None
    randomness: Randomness
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    validated: ValidationResult | None = None  # the newest one
    best_validated: ValidationResult | None = None
    _at: int = 0  # the iteration that is under way
    _judged: int = 0  # the newest one whose losses were looked at
    _losses: dict[str, Tensor] = field(default_factory=dict)  # of it, on the device

    def run(self) -> str:
        """Train to the end and return why it ended; raises `StoppedEarly` after a signal, with everything saved."""
        plan = self.recipe.training
        if self.progress.iteration == 0:
            self._save()
        bar = Progress("training", plan.iterations, "iterations", done=self.progress.iteration)
        with watch_signals() as interruption:
            while self.progress.iteration < plan.iterations and not self._exhausted():
                try:
                    self._iterate()
                    asked = agreed(self.fabric, interruption.name, self.progress.iteration)
                    self._save_if_due(asked)
                except Diverged as divergence:
                    self._return_to_checkpoint(str(divergence), self._at)
                    bar.done = self.progress.iteration
                    continue
                bar.advance(
                    note=f"best validation loss {self.progress.best_loss:.5f} at {self.progress.best_iteration}"
                )
                self._stop_if_asked(asked)
        bar.finish()
        if self._exhausted():
            cycles, iterations = plan.early_stopping_cycles, plan.early_stopping_iterations
            return f"validation did not improve for {f'{cycles} cycles' if cycles else f'{iterations} iterations'}"
        return "all iterations done"

    def _iterate(self) -> None:
        """Train one iteration; validate and log where it is time to."""
        started = time.monotonic()
        plan, iteration = self.recipe.training, self.progress.iteration + 1
        self._at = iteration
        validate = iteration % plan.validate_every == 0 or iteration == plan.iterations or self._ends_cycle(iteration)
        log = validate or iteration % plan.log_every == 0 or iteration == 1
        fraction = rate_fraction(self.recipe.schedule, iteration - 1, plan.iterations)
        self._losses = self.algorithm.step(self.sampler.batch, fraction, iteration - 1, measure_gradients=log)
        scalars = self._checked() if log else {}  # waits for the device
        seconds = time.monotonic() - started
        if self.log:
            self.log.count(seconds)
        self.progress = replace(self.progress, iteration=iteration, seconds=self.progress.seconds + seconds)
        if validate:
            scalars |= self._validate()
        if log and self.log:
            rates = {f"learning_rate_{name}": rate for name, rate in self.algorithm.learning_rates().items()}
            used = {"memory_mib": memory_mib(self.fabric.device), "seconds": self.progress.seconds}
            self.log.add(iteration, {**scalars, **rates, **used})

    def _checked(self) -> dict[str, float]:
        """Return the iteration's scalars, the same on all ranks; raises `Diverged` where they show that it has."""
        self._judged = self._at
        scalars = require_finite(mean_over_ranks(self.fabric, self._losses))
        if reason := self.algorithm.divergence(scalars):
            raise Diverged(reason)
        return scalars

    def _validate(self) -> dict[str, float]:
        started = time.monotonic()
        result = self.validated = self.validation.run(self.algorithm.denoiser, self.fabric)
        require_finite({"the validation loss": result.loss})
        plan, iteration = self.recipe.training, self.progress.iteration
        if result.loss < self.progress.best_loss:
            self.best_validated = result
            self.progress = replace(self.progress, best_iteration=iteration, best_loss=result.loss)
            if self.fabric.is_global_zero:
                self.checkpoints.save_best(iteration, self.algorithm.denoiser)
        if plan.early_stopping_cycles:
            losses = judged(self.progress.cycle_losses, result.loss, self.recipe.schedule, plan, iteration)
            self.progress = replace(self.progress, cycle_losses=losses)
        say(f"iteration {iteration}: validation loss {result.loss:.5f}, {_figures(result)}")
        if self.previews:
            self.previews.show(iteration, self.algorithm.denoiser, self.fabric.device)
        self.progress = replace(self.progress, seconds=self.progress.seconds + time.monotonic() - started)
        measured = {"loss": result.loss, "psnr_db": result.psnr_db, "ssim": result.ssim, "rmse_hu": result.rmse_hu}
        return {f"validation_{name}": value for name, value in measured.items() if value is not None}

    def _ends_cycle(self, iteration: int) -> bool:
        """Tell whether early stopping judges the validation after this iteration."""
        plan = self.recipe.training
        return bool(plan.early_stopping_cycles) and ends_cycle(self.recipe.schedule, plan, iteration)

    def _exhausted(self) -> bool:
        """Tell whether validation, where it took place, has not improved for as long as the recipe waits."""
        plan, iteration = self.recipe.training, self.progress.iteration
        if plan.early_stopping_cycles:
            return self.progress.cycle_losses.without_improvement() >= plan.early_stopping_cycles
        validated = iteration > 0 and iteration % plan.validate_every == 0
        patience = plan.early_stopping_iterations or math.inf
        return validated and iteration - self.progress.best_iteration >= patience

    def _save_if_due(self, asked: str | None) -> None:
        plan, iteration = self.recipe.training, self.progress.iteration
        if self._exhausted() or iteration == plan.iterations or asked or iteration % plan.checkpoint_every == 0:
            if self._judged != iteration:
                self._checked()  # only a good state is saved: this is what a training that diverges goes back to
            require_finite_weights(self.algorithm.networks().values())
            self._save()

    def _save(self) -> None:
        """Write a checkpoint of this moment; all ranks take part, one writes."""
        random = gather_objects(self.fabric, self.randomness.state_dict())
        if self.fabric.is_global_zero:
            state = {
                "progress": asdict(self.progress),
                "validated": [_as_state(self.validated), _as_state(self.best_validated)],
                "fingerprint": self.fingerprint,
                "algorithm": self.algorithm.state_dict(),
                "randomness": random,
            }
            self.checkpoints.save(self.progress.iteration, self.progress.best_iteration, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `_save` wrote; raises `InputError` where it is of another number of ranks."""
        ranks = len(state["randomness"])
        if ranks != self.fabric.world_size:
            fault = f"was trained on {ranks} devices, and each has random numbers of its own"
            raise InputError(self.checkpoints.folder, fault, "give the same --devices and --nodes")
        progress = state["progress"]
        self.progress = TrainingProgress(**{**progress, "cycle_losses": CycleLosses(**progress["cycle_losses"])})
        self.validated, self.best_validated = (
            ValidationResult(**told) if told else None for told in state["validated"]
        )
        if self.progress.best_iteration:
            self.checkpoints.best(self.progress.best_iteration)  # raises now what would be raised at the end
        self.algorithm.load_state_dict(state["algorithm"])
        self.randomness.load_state_dict(state["randomness"][self.fabric.global_rank])

    def _return_to_checkpoint(self, reason: str, at: int) -> None:
        """Go back to the newest checkpoint, which was good, with other random numbers.

        Raises `InputError` when the training has diverged as often before.
        """
        returns = self.progress.rollbacks + 1
        if returns > MOST_ROLLBACKS:
            fault = f"{reason} at iteration {at}: the training diverged for the {returns}th time"
            remedy = "lower the learning rates (--set optimizer.…) and train again with another --checkpoints folder"
            raise InputError(None, fault, remedy)
        state = self.checkpoints.load(self.fabric)
        if state is None:
            raise RuntimeError("a training that runs has a checkpoint")
        self.restore(state)
        self.progress = replace(self.progress, rollbacks=max(returns, self.progress.rollbacks + 1))
        self.randomness.begin(attempt=self.progress.rollbacks)
        if self.log:
            self.log.cut_back(self.progress.iteration)
            _tell_return(reason, at, self.progress)
        if self.previews:
            self.previews.go_back(self.progress.iteration)

    def _stop_if_asked(self, asked: str | None) -> None:
        if not asked:
            return
        leave(self.fabric)
        if not self.fabric.is_global_zero:
            raise SystemExit(ExitCode.DONE)  # the first rank speaks for all, with words and with its exit code
        where = f"iteration {self.progress.iteration}"
        raise StoppedEarly(f"{asked}: saved at {where}; the same command with --resume goes on there.")


def _tell_return(reason: str, at: int, progress: TrainingProgress) -> None:
    warn(
        f"{reason} at iteration {at}: the training diverged; going back to iteration {progress.iteration}, the last "
        f"good one, and on with other random numbers (time {progress.rollbacks} of {MOST_ROLLBACKS})"
    )


def _as_state(result: ValidationResult | None) -> dict[str, Any] | None:
    return asdict(result) if result else None


def _figures(result: ValidationResult) -> str:
    psnr = "–" if result.psnr_db is None else f"{result.psnr_db:.2f} dB"
    ssim = "–" if result.ssim is None else f"{result.ssim:.4f}"
    return f"PSNR {psnr}, SSIM {ssim}"
