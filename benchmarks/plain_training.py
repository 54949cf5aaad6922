"""The same training as most public code writes it, for `benchmarks/training.py` to compare with.

A data loader on the CPU cuts, normalises and augments float32 patches one by one; networks run in float32, eagerly and
in the usual memory layout; critic steps keep the generator's graph and throw it away; optimizers step a parameter at a
time. The mathematics is the recipe's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.recipes.networks import build_critic, build_generator
from ldctpipe.recipes.schema import Recipe


class PlainPatches(Dataset[tuple[Tensor, Tensor]]):
    """One augmented pair of patches a sample, from the store's arrays."""

    def __init__(self, store: Path, recipe: Recipe, samples: int) -> None:
        self.pairs = np.load(store / "pairs.npy", mmap_mode="r")
        self.size, self.samples, self.recipe = recipe.data.patch_size, samples, recipe

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(index)
        pair = self.pairs[rng.integers(len(self.pairs))].astype(np.float32)
        pair = (np.clip(pair, -1000, 2000) + 1000) / 3000
        row, column = rng.integers(0, np.array(pair.shape[1:]) - self.size + 1)
        patches = pair[:, row : row + self.size, column : column + self.size]
        choice = rng.integers(4)
        if choice == 0:
            patches = ndimage.rotate(patches, 45, axes=(2, 1), reshape=False, order=1, mode="nearest")
        elif choice == 1:
            patches = patches[:, ::-1] if rng.random() < 0.5 else patches[..., ::-1]
        elif choice == 2:
            patches = np.clip(patches * rng.choice([0.5, 2.0]), 0, 1)
        low, full = torch.from_numpy(np.ascontiguousarray(patches, dtype=np.float32))
        return low[None], full[None]


class PlainTraining:
    """Networks, optimizers and one step."""

    def __init__(
        self, store: Path, recipe: Recipe, device: torch.device, weights: dict[str, Tensor], workers: int
    ) -> None:
        self.recipe, self.device = recipe, device
        torch.manual_seed(0)
        self.generator, self.critic = build_generator(recipe).to(device), build_critic(recipe).to(device)
        self.perceptual = PerceptualLoss(recipe.losses.perceptual_backbone, recipe.losses.perceptual_stages)
        self.perceptual.network.load_state_dict(weights, strict=False)
        self.perceptual.to(device)
        rates = recipe.optimizer
        self.generator_optimizer = _adamw(self.generator, rates.generator_learning_rate, rates.betas)
        self.critic_optimizer = _adamw(self.critic, rates.critic_learning_rate, rates.betas)
        samples = PlainPatches(store, recipe, samples=1_000_000)
        self.batches = iter(DataLoader(samples, recipe.data.batch_size, num_workers=workers))

    def step(self) -> None:
        """Train one iteration."""
        for _ in range(self.recipe.algorithm.critic_updates):
            low, full = self._batch()
            generated = self.generator(low).detach()
            distance = self.critic(full).mean() - self.critic(generated).mean()
            loss = -distance + self.recipe.algorithm.gradient_penalty * self._penalty(full, generated)
            self._update(loss, self.critic_optimizer)
        low, full = self._batch()
        generated, weights = self.generator(low), self.recipe.losses
        loss = -weights.adversarial * self.critic(generated).mean() + weights.pixel * (generated - full).abs().mean()
        self._update(loss + weights.perceptual * self.perceptual(generated, full), self.generator_optimizer)

    def _batch(self) -> tuple[Tensor, Tensor]:
        low, full = next(self.batches)
        return low.to(self.device), full.to(self.device)

    def _penalty(self, full: Tensor, generated: Tensor) -> Tensor:
        share = torch.rand(len(full), 1, 1, 1, device=self.device)
        between = (share * full + (1 - share) * generated).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    def _update(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _adamw(network: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=rate, betas=betas, foreach=False)


def plain_steps(training: PlainTraining) -> Iterator[None]:
    """Train an iteration each time the next is asked for."""
    while True:
        training.step()
        yield
