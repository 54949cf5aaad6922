"""Where a denoising network attends and what its features contribute: attention maps and Grad-CAM.

The maps of the flagship paper's figure 10, from the weights that the network itself computes. Every function leaves the
network as it was: modes, gradients, hooks. It explains the bare network in eval mode, in the precision of the caller's
context (under `torch.autocast` in mixed precision), on images (batch, slices, rows, columns) of any size. A network
pads them itself, at the lower right to a multiple of its `stride` where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from ldctpipe.models.attention import DualFeatureAttention
from ldctpipe.models.last_features import last_convolution

_STAGES = {"attention.2": 3, "attention.3": 5, "attention.4": 7}  # the flagship's modules, and the paper's numbers
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
    """Return the names of the dual-feature attention modules by stage; none for a network without.

    The flagship's stages have the paper's numbers, 3, 5 and 7; those of other networks count from 1 as they run.
    """
    found = [name for name, module in _bare(network).named_modules() if isinstance(module, DualFeatureAttention)]
    return {_STAGES.get(name, number): name for number, name in enumerate(found, start=1)}


@torch.no_grad()
def attention_maps(network: nn.Module, image: Tensor) -> dict[int, AttentionMaps]:
    """Return the attention maps of each stage for images in [0, 1].

    Raises `UnexplainableNetworkError` for a network without dual-feature attention.
    """
    bare, layers = _bare(network), attention_layers(network)
    if not layers:
        raise UnexplainableNetworkError("has no dual-feature attention")
    factors: dict[int, dict[str, Tensor]] = {stage: {} for stage in layers}
    hooks: dict[nn.Module, Hook] = {}
    for stage, layer in layers.items():
        module = bare.get_submodule(layer)
        hooks[module.get_submodule("channel")] = _keep(factors[stage], "channel", _channel_factor)
        hooks[module.get_submodule("spatial")] = _keep(factors[stage], "spatial", lambda _features, weights: weights)
    with _undisturbed(bare), _hooked(hooks):
        bare(image)
    maps = {}
    for stage, seen in factors.items():
        spatial, channel = seen["spatial"].float(), seen["channel"]
        sized = (_at_resolution_of(image, factor, bare) for factor in (spatial, channel, spatial * channel))
        maps[stage] = AttentionMaps(*sized)
    return maps


def grad_cam(network: nn.Module, image: Tensor, layer: str | None = None, region: Tensor | None = None) -> Tensor:
    """Return the Grad-CAM for images in [0, 1]: (batch, rows, columns), float32, ≥ 0.

    Selvaraju 2017 (arXiv 1610.02391), equations 1 and 2. The feature maps A_k are the output of `layer`, a name of
    `named_modules` such as those of `attention_layers`; without one, what enters the last convolution (where that runs
    more than once, the last time). A denoiser has no class whose score could be differentiated; here the scalar is the
    mean of |output − centre slice| over `region` (boolean, (batch, 1, rows, columns); all of the image without it): how
    much the network changes there. The map is large where features lie that make the network change the region more.

    Not normalised. Of features over several slices it shows those in the middle. Raises `UnexplainableNetworkError`
    where the network has no such layer, or one that does not lead to the output or has no feature maps.
    """
    bare = _bare(network)
    with torch.inference_mode(False), torch.enable_grad(), _undisturbed(bare):
        image = image.detach().clone()  # a tensor of inference mode could not be differentiated through
        last = last_convolution(bare, image) if layer is None else None
        if layer is None and last is None:
            raise UnexplainableNetworkError("has no convolution whose features could be differentiated")
        name = last.name if last else str(layer)
        begin = _GraphBeginning(name, last.calls if last and not hasattr(bare, "joined") else None)
        with begin.at(_layer(bare, name), where_it_enters=last is not None):
            output = bare(image)
        changed, pixels = _change(output, image, region)
        slopes = torch.autograd.grad(changed, begin.kept, allow_unused=True) if changed.requires_grad else ()
    gradients = [slope for slope in slopes if slope is not None]
    if not gradients or len(gradients) != len(begin.kept) or (last is None and len(gradients) != 1):
        raise UnexplainableNetworkError(f"has no single path from its layer {name!r} to the output")
    values, slope = (_whole(bare, image, parts) for parts in (begin.kept, gradients))
    everywhere = tuple(range(2, values.ndim))
    importance = slope.mean(dim=everywhere, keepdim=True) / pixels.view(-1, *[1] * (values.ndim - 1))
    found = (importance * values).sum(dim=1, keepdim=True).relu()
    found = found[:, :, found.shape[2] // 2] if found.ndim == 5 else found
    return _at_resolution_of(image, last.on_grid_of_output(found) if last else found, bare)


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


class _GraphBeginning:
    """Keeps the features of a layer, of one of its calls or of all, and lets the graph begin there."""

    def __init__(self, name: str, call: int | None) -> None:
        self._name, self._call, self._calls = name, call, 0
        self.kept: list[Tensor] = []

    def at(self, layer: nn.Module, *, where_it_enters: bool) -> AbstractContextManager[None]:
        """Begin the graph at the output of a layer, or at what enters it, within this context."""
        if where_it_enters:
            handle = layer.register_forward_pre_hook(lambda _module, inputs: (self._begin(inputs[0]), *inputs[1:]))
        else:
            handle = layer.register_forward_hook(lambda _module, _inputs, output: self._begin(output))
        return _removed_at_end([handle])

    def _begin(self, features: Any) -> Any:
        self._calls += 1
        if self._call not in (None, self._calls):
            return features
        if not isinstance(features, Tensor) or features.ndim not in (4, 5):
            raise UnexplainableNetworkError(f"has no feature maps in its layer {self._name!r}")
        self.kept.append(features.detach().requires_grad_())
        return self.kept[-1].clone()  # what follows may work in place


def _whole(network: nn.Module, image: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Return the features of an image, float32, from those of a layer's calls: a network of tiles joins them itself."""
    features = torch.cat([part.detach().float() for part in parts])
    join: Callable[[Tensor, int, int], Tensor] | None = getattr(network, "joined", None)
    return join(features, *image.shape[-2:]) if join else features


def _change(output: Tensor, image: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sum of |output − centre slice| over the region, and the region's pixels an image (batch, 1, 1, 1).

    The sum is what is differentiated, and divided later: gradients of a mean over 512 × 512 pixels are 0 in float16.
    """
    centre = image[:, image.shape[1] // 2, None]
    counted = torch.ones_like(centre) if region is None else region.to(centre).expand_as(centre)
    difference = (output.float() - centre.float()).abs()
    return (difference * counted).sum(), counted.float().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)


def _at_resolution_of(image: Tensor, maps: Tensor, network: nn.Module) -> Tensor:
    """Return (batch, rows, columns) of the image for maps (batch, 1, …) of the padded image at any stride."""
    rows, columns = image.shape[-2:]
    down, right = (
        _padded(side, features, network) for side, features in zip((rows, columns), maps.shape[-2:], strict=True)
    )
    return functional.interpolate(maps, (down, right), mode="bilinear", align_corners=False)[:, 0, :rows, :columns]


def _padded(side: int, features: int, network: nn.Module) -> int:
    """Return to how many pixels a network pads a side that has so many features."""
    if hasattr(network, "stride"):
        return side + -side % int(network.stride)  # type: ignore[call-overload,arg-type]
    return features * max(1, -(-side // features))


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


def _hooked(hooks: Mapping[nn.Module, Hook]) -> AbstractContextManager[None]:
    return _removed_at_end([module.register_forward_hook(hook) for module, hook in hooks.items()])


@contextmanager
def _removed_at_end(handles: Sequence[RemovableHandle]) -> Iterator[None]:
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
