"""A pool of images generated earlier, of which a discriminator sees some again (Shrivastava 2017, arXiv 1612.07828)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Mixes generated images of this iteration with up to `size` of earlier ones, which keeps adversaries from chasing.

    While it fills, images pass. Then each is, with equal chance, passed on, or kept in exchange for a random one of
    the pool (Zhu 2017, who keeps 50). Size 0 passes all. Draws from a random generator of its own, whose state
    `state_dict` holds with the images: a resumed training sees what an uninterrupted one sees.
    """

    def __init__(self, size: int = 50, *, seed: int = 0) -> None:
        self.size = size
        self._random = torch.Generator().manual_seed(seed)
        self._images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """Return as many images as `images` (batch, channels, rows, columns) has, on its device, without gradients."""
        if self.size == 0:
            return images.detach()
        return torch.stack([self._exchange(image) for image in images.detach()])

    def state_dict(self) -> dict[str, Any]:
        """Return the images, in order, and the state of the random generator."""
        return {"images": [image.clone() for image in self._images], "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._images = [image.clone() for image in state["images"]]
        self._random.set_state(state["random"].cpu())

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if torch.rand((), generator=self._random) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self._random))
        kept, self._images[place] = self._images[place], image.clone()
        return kept.to(image.device)
