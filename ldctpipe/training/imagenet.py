"""Where a training's ImageNet weights come from: files, an installed package, timm's hub, or nowhere if asked for."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ldctpipe.errors import InputError
from ldctpipe.files import require_exists, sha256_of_file
from ldctpipe.models.backbone_weights import hub_weights, load_encoder
from ldctpipe.models.packaged_weights import package_of
from ldctpipe.models.tensor_files import read_tensors, require_numbers

_SUFFIXES = (".safetensors", ".pth", ".pt")


class ImageNetWeights:
    """Weights of timm networks by name, loaded when first wanted; `asked_for` is False under --no-pretrained.

    `encoder` and `perceptual` are files, or folders that hold a file for each network, named after it: those of the
    encoder and of the perceptual loss. Where the loss has none, those of the encoder serve if it is the same network.
    Without a file, an installed package that has the network's weights comes before the hub.
    """

    def __init__(self, asked_for: bool, encoder: Path | None = None, perceptual: Path | None = None) -> None:
        self.asked_for = asked_for
        self._encoder, self._perceptual = encoder, perceptual
        self._loaded: dict[tuple[Path | None, str], dict[str, Tensor]] = {}
        for place in (encoder, perceptual):
            if place is not None:
                require_exists(place)

    def fingerprint(self, encoder: str | None, perceptual: str | None) -> str:
        """Return what stands in a checkpoint for the weights that networks of these names start from."""
        if not self.asked_for:
            return "from scratch"
        files = [_source_of(encoder, self._encoder)] if encoder else []
        files += [_source_of(perceptual, self._perceptual)] if perceptual else []
        return "".join(sha256_of_file(file) for file in files if file) or "hub"

    def load_into_encoder(self, network: nn.Module, name: str) -> None:
        """Copy the weights of a timm network into an encoder of its kind; raises `InputError` where they don't fit."""
        self._load(network, name, self._encoder, "--backbone-weights FILE, or train from scratch with --no-pretrained")

    def load_into_perceptual(self, network: nn.Module, name: str, encoder: str | None) -> None:
        """Copy the weights of a timm network into that of the perceptual loss of a generator with such an encoder.

        Raises `InputError` where they don't fit or can't be had.
        """
        place = self._perceptual or (self._encoder if name == encoder else None)
        remedy = "--perceptual-weights FILE, or train without the perceptual loss with --no-pretrained"
        self._load(network, name, place, remedy)

    def _load(self, network: nn.Module, name: str, place: Path | None, remedy: str) -> None:
        file = _source_of(name, place)
        if (file, name) not in self._loaded:
            self._loaded[file, name] = _read(file, name) if file else _fetch(name, remedy)
        try:
            load_encoder(network, self._loaded[file, name])
        except KeyError as error:
            fault = f"lacks {error.args[0]} of {name}"
            raise InputError(file or name, fault, "give this network's weights in timm's naming") from None
        except ValueError as error:
            raise InputError(file or name, f"does not fit {name}: {error}", "give this network's weights") from None


def _file_of(name: str, place: Path | None) -> Path | None:
    """Return the file of a network's weights: `place` itself, or the one in that folder."""
    if place is None or not place.is_dir():
        return place
    for suffix in _SUFFIXES:
        if (place / f"{name}{suffix}").is_file():
            return place / f"{name}{suffix}"
    raise InputError(place, f"holds no weights of {name}", f"put them there as {name}.safetensors, or name the file")


def _source_of(name: str, place: Path | None) -> Path | None:
    """Return the file that the user gave for a network, else that of an installed package."""
    package = package_of(name)
    return _file_of(name, place) or (package.path() if package else None)


def _read(file: Path, name: str) -> dict[str, Tensor]:
    remedy = "give a .safetensors or .pth file of timm's naming"
    tensors = read_tensors(file, remedy)
    require_numbers(file, tensors, remedy)
    package = package_of(name)
    return package.in_timms_names(tensors) if package else tensors


def _fetch(name: str, remedy: str) -> dict[str, Tensor]:
    try:
        return hub_weights(name)
    except Exception as error:  # noqa: BLE001 - whatever the hub's client raises, the remedy is the same
        fault = f"its ImageNet weights can't be fetched ({type(error).__name__})"
        package = package_of(name)
        if package:
            remedy = f"{remedy}; or install them with `{package.remedy}`"
        raise InputError(name, fault, f"give {remedy}") from None
