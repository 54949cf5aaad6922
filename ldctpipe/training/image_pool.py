"""A pool of images generated earlier, of which a discriminator sees some again (Shrivastava 2017, arXiv 1612.07828)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Mixes generated images of this iteration with up to `size` of earlier ones, which keeps adversaries from chasing.

    While it fills, images pass. Then each is, with equal chance, passed on, or kept in exchange for a random one of
    the pool (Zhu 2017, who keeps 50). Size 0 passes all. `generator` is what it draws from; with its state and
    `state_dict`, a resumed training sees what an uninterrupted one sees.
    """

    def __init__(self, size: int, generator: torch.Generator) -> None:
        self.size, self.generator = size, generator
        self._images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """Return as many images as `images` (batch, channels, rows, columns) has, on its device, without gradients."""
        if self.size == 0:
            return images.detach()
        return torch.stack([self._exchange(image) for image in images.detach()])

    def state_dict(self) -> dict[str, Any]:
        """Return the images, in order."""
        return {"images": [image.clone() for image in self._images]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._images = [image.clone() for image in state["images"]]

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if torch.rand((), generator=self.generator) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self.generator))
        kept, self._images[place] = self._images[place], image.clone()
        return kept.to(image.device)
