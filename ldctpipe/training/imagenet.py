"""Where a training's ImageNet weights come from: a file, timm's hub, or nowhere because the user asked for that."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ldctpipe.errors import InputError
from ldctpipe.files import require_exists, sha256_of_file
from ldctpipe.models.backbone_weights import hub_weights, load_encoder, read_weights


class ImageNetWeights:
    """Weights of timm backbones by name, loaded when first wanted; `asked_for` is False under --no-pretrained."""

    def __init__(self, asked_for: bool, file: Path | None) -> None:
        self.asked_for = asked_for
        self._file = file
        self._loaded: dict[str, dict[str, Tensor]] = {}
        if file is not None:
            require_exists(file)

    @property
    def fingerprint(self) -> str:
        """What stands for the starting weights in a checkpoint."""
        if not self.asked_for:
            return "from scratch"
        return sha256_of_file(self._file) if self._file else "hub"

    def of(self, backbone: str) -> dict[str, Tensor]:
        """Return the weights of `backbone`; raises `InputError` when they can't be had."""
        if backbone not in self._loaded:
            self._loaded[backbone] = self._read() if self._file else _fetch(backbone)
        return self._loaded[backbone]

    def _read(self) -> dict[str, Tensor]:
        try:
            return read_weights(self._file)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - torch and safetensors raise many kinds for a file that is not weights
            fault = f"holds no weights that can be read ({type(error).__name__})"
            raise InputError(self._file, fault, "give a .safetensors or .pth file of timm's naming") from None

    def load_into(self, encoder: nn.Module, backbone: str) -> None:
        """Copy the weights of `backbone` into its encoder; raises `InputError` where they are another network's."""
        try:
            load_encoder(encoder, self.of(backbone))
        except KeyError as error:
            fault = f"lacks {error.args[0]} of {backbone}"
            raise InputError(self._file or backbone, fault, "give this network's weights in timm's naming") from None
        except ValueError as error:
            raise InputError(
                self._file or backbone, f"does not fit {backbone}: {error}", "give this network's weights"
            ) from None


def _fetch(backbone: str) -> dict[str, Tensor]:
    try:
        return hub_weights(backbone)
    except Exception as error:  # noqa: BLE001 - whatever the hub's client raises, the remedy is the same
        raise InputError(
            backbone,
            f"its ImageNet weights can't be fetched ({type(error).__name__})",
            "give --backbone-weights FILE, or train from scratch with --no-pretrained",
        ) from None
