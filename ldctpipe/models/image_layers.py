"""The layers through which a network sees its image, found by following the image's values through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ldctpipe.models.full_precision import in_float32

# What autocast computes in its lower precision, by the names of torch's functions.
_ROUNDED = {
    *(f"conv{transposed}{dimensions}d" for transposed in ("", "_transpose") for dimensions in (1, 2, 3)),
    *("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "addmm", "addmv", "addbmm", "baddbmm"),
    *("einsum", "prelu", "scaled_dot_product_attention", "multi_head_attention_forward"),
}


def see_in_float32(network: nn.Module, slices: int, side: int = 64) -> nn.Module:
    """Return `network`, changed so that its `image_layers` round the image neither under autocast nor by TF32.

    They are found with an image (1, slices, side, side). A network without weights stays as it is.
    """
    weights = next(network.parameters(), None)
    if weights is not None:
        ramp = torch.linspace(0, 1, side**2, device=weights.device, dtype=weights.dtype).view(1, 1, side, side)
        for layer in image_layers(network, ramp.repeat(1, slices, 1, 1)):
            in_float32(layer)
    return network


def image_layers(network: nn.Module, image: Tensor) -> list[nn.Module]:
    """Return the modules that would round values of `image` under autocast, in the order in which they run.

    Those are modules whose products take in what depends on the image by a way without such a product: of most networks
    the first convolution, of others also layers beside or behind it to which the image is handed on. Behind a fixed
    filter, a module without parameters, the search goes on.
    """
    kind, found = image.device.type, dict[nn.Module, None]()
    running: list[nn.Module] = []

    class ImageValues(Tensor):
        """Values that depend on the image by a way on which autocast rounds nothing, computed without autocast."""

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            is_product = getattr(function, "__name__", "") in _ROUNDED and torch.is_autocast_enabled(kind)
            with torch.autocast(kind, enabled=False):
                result = super().__torch_function__(function, types, args, kwargs or {})
            if not is_product:
                return result
            layer = running[-1]
            found[layer] = None
            is_fixed_filter = next(layer.parameters(), None) is None  # what it returns is an image still
            return result if is_fixed_filter else result.as_subclass(Tensor)

    with _noting(network, running), torch.no_grad(), torch.autocast(kind, dtype=torch.bfloat16):
        network(image.as_subclass(ImageValues))
    return list(found)


@contextmanager
def _noting(network: nn.Module, running: list[nn.Module]) -> Iterator[None]:
    """Keep the modules that are under way in `running`, the innermost last; the network is in eval mode meanwhile."""

    def enter(module: nn.Module, _inputs: Any) -> None:
        running.append(module)

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        running.pop()

    modes = [(module, module.training) for module in network.modules()]
    handles = [module.register_forward_pre_hook(enter) for module, _ in modes]
    handles += [module.register_forward_hook(leave) for module, _ in modes]
    network.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
