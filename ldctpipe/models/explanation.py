"""Where a denoising network attends and what its features contribute: attention maps and Grad-CAM.

The maps of the flagship paper's figure 10, from the weights that the network itself computes. Every function leaves the
network as it was: modes, gradients, hooks. It explains the bare network in eval mode, in the precision of the caller's
context (under `torch.autocast` in mixed precision), on images of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.attention import DualFeatureAttention
from ldctpipe.models.efficientnetv2_unet import STRIDE
from ldctpipe.models.padding import pad_to_multiple

_STAGES = {"2": 3, "3": 5, "4": 7}  # keys of the network's attention modules, and the paper's numbers of the stages
_EVEN = 1e-6  # relative: a map that varies less is even, and what varies in it is rounding

Hook = Callable[[nn.Module, Any, Any], Any]


class UnexplainableNetworkError(ValueError):
    """The network has not the layers that an explanation needs; the text is a clause that begins with "has"."""


@dataclass(frozen=True)
class AttentionMaps:
    """What one attention module does to the features x(p) of each position p, as factors in (0, 1).

    All are float32 (batch, rows, columns) at the resolution of the image, not normalised. `spatial` is the module's
    spatial weight s(p). `channel` is ‖w∘x(p)‖ / ‖x(p)‖, the factor by which the channel weights w change the length of
    the feature vector: the root mean square of the weights, each counted by the energy that its channel has there (even
    where all weights are equal, and their plain root mean square where x(p) = 0). `combined` is s(p) · `channel`, the
    factor of the whole module.
    """

    spatial: Tensor
    channel: Tensor
    combined: Tensor


def attention_layers(network: nn.Module) -> dict[int, str]:
    """Return the names of the attention modules by the paper's number of their stage: 3, 5, 7.

    Raises `UnexplainableNetworkError` for a network that has none.
    """
    found = getattr(_bare(network), "attention", None)
    if not isinstance(found, nn.ModuleDict) or not all(isinstance(m, DualFeatureAttention) for m in found.values()):
        raise UnexplainableNetworkError("has no dual-feature attention")
    return {_STAGES[key]: f"attention.{key}" for key in found}


@torch.no_grad()
def attention_maps(network: nn.Module, image: Tensor) -> dict[int, AttentionMaps]:
    """Return the attention maps of each stage for images (batch, 1, rows, columns) in [0, 1].

    Raises `UnexplainableNetworkError` for a network without dual-feature attention.
    """
    bare, padded = _bare(network), pad_to_multiple(image, STRIDE)
    factors: dict[int, dict[str, Tensor]] = {stage: {} for stage in attention_layers(bare)}
    hooks: dict[nn.Module, Hook] = {}
    for stage, layer in attention_layers(bare).items():
        module = bare.get_submodule(layer)
        hooks[module.get_submodule("channel")] = _keep(factors[stage], "channel", _channel_factor)
        hooks[module.get_submodule("spatial")] = _keep(factors[stage], "spatial", lambda _features, weights: weights)
    with _undisturbed(bare), _hooked(hooks):
        bare(padded)
    maps = {}
    for stage, seen in factors.items():
        spatial, channel = seen["spatial"].float(), seen["channel"]
        sized = (_at_resolution_of(image, factor) for factor in (spatial, channel, spatial * channel))
        maps[stage] = AttentionMaps(*sized)
    return maps


def grad_cam(network: nn.Module, image: Tensor, layer: str, region: Tensor | None = None) -> Tensor:
    """Return the Grad-CAM of a layer for images (batch, 1, rows, columns): (batch, rows, columns), float32, ≥ 0.

    Selvaraju 2017 (arXiv 1610.02391), equations 1 and 2, with the layer's output as feature maps A_k. A denoiser has no
    class whose score could be differentiated; here the scalar is the mean of |output − image| over `region` (boolean,
    (batch, 1, rows, columns); all of the image without it): how much the network changes there. The map is large where
    features lie that make the network change the region more.

    `layer` is a name of `named_modules`, such as those of `attention_layers`. Not normalised. Raises
    `UnexplainableNetworkError` where the network has no such layer, or one that does not lead to the output or has no
    feature maps.
    """
    bare = _bare(network)
    seen: list[Tensor] = []

    def begin_graph(_module: nn.Module, _inputs: Any, features: Any) -> Tensor:
        if not isinstance(features, Tensor) or features.ndim != 4:
            raise UnexplainableNetworkError(f"has no feature maps in its layer {layer!r}")
        seen.append(features.detach().requires_grad_())
        return seen[-1].clone()  # what follows may work in place

    with torch.inference_mode(False), torch.enable_grad(), _undisturbed(bare):
        image = image.detach().clone()  # a tensor of inference mode could not be differentiated through
        with _hooked({_layer(bare, layer): begin_graph}):
            output = bare(pad_to_multiple(image, STRIDE))
        changed, pixels = _change(output, image, region)
        gradients = torch.autograd.grad(changed, seen, allow_unused=True) if changed.requires_grad else (None,)
    if len(seen) != 1 or gradients[0] is None:
        raise UnexplainableNetworkError(f"has no single path from its layer {layer!r} to the output")
    importance = gradients[0].float().mean(dim=(2, 3), keepdim=True) / pixels
    return _at_resolution_of(image, (importance * seen[0].detach().float()).sum(dim=1, keepdim=True).relu())


def normalised(maps: Tensor) -> Tensor:
    """Return maps (batch, rows, columns) with each stretched to [0, 1]; a map that is even becomes 0 everywhere."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    varies = high - low > _EVEN * high.abs()
    return torch.where(varies, (maps - low) / torch.where(varies, high - low, 1), 0)


def fused(maps: Sequence[Tensor]) -> Tensor:
    """Return one map of several stages' (batch, rows, columns): the mean of the normalised ones, normalised again."""
    return normalised(torch.stack([normalised(one) for one in maps]).mean(dim=0))


def _channel_factor(features: Tensor, weights: Tensor) -> Tensor:
    energy, squared = features.float().square(), weights.float().square()
    total = energy.sum(dim=1, keepdim=True)
    kept = (squared * energy).sum(dim=1, keepdim=True) / torch.where(total > 0, total, 1)
    return torch.where(total > 0, kept, squared.mean(dim=1, keepdim=True)).sqrt()


def _change(output: Tensor, image: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sum of |output − image| over the region, and the region's pixels an image (batch, 1, 1, 1).

    The sum is what is differentiated, and divided later: gradients of a mean over 512 × 512 pixels are 0 in float16.
    """
    rows, columns = image.shape[-2:]
    counted = torch.ones_like(image) if region is None else region.to(image).expand_as(image)
    difference = (output[..., :rows, :columns].float() - image.float()).abs()
    return (difference * counted).sum(), counted.float().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)


def _at_resolution_of(image: Tensor, factor: Tensor) -> Tensor:
    """Return (batch, rows, columns) of the image for a map (batch, 1, …) of the padded image at any stride."""
    rows, columns = image.shape[-2:]
    padded = (rows + -rows % STRIDE, columns + -columns % STRIDE)
    return functional.interpolate(factor, padded, mode="bilinear", align_corners=False)[:, 0, :rows, :columns]


def _bare(network: nn.Module) -> nn.Module:
    """Return the network without the wrappers of Fabric or torch.compile, through which hooks see nothing."""
    inner = getattr(network, "module", network)
    return getattr(inner, "_orig_mod", inner)


def _layer(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError:
        raise UnexplainableNetworkError(f"has no layer {name!r}") from None


def _keep(where: dict[str, Tensor], name: str, factor: Callable[[Tensor, Tensor], Tensor]) -> Hook:
    """Return a hook that keeps `factor` of what a module takes in and gives out."""

    def keep(_module: nn.Module, inputs: Any, output: Tensor) -> None:
        where[name] = factor(inputs[0], output)

    return keep


@contextmanager
def _hooked(hooks: Mapping[nn.Module, Hook]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Put the network into eval mode and its parameters out of any graph; restore the modes and flags of each."""
    modes = [(module, module.training) for module in network.modules()]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        network.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode
