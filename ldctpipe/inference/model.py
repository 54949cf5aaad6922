"""A bundle and where its network runs, read once for as many scans as come."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from ldctpipe.devices import pick_device
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.recipes.bundle import read_bundle


class Model:
    """A checked bundle and a device; the network is loaded when it is first needed, and once.

    Raises `InputError` where `folder` is no bundle, and `UsageError` where the device can't be used.
    """

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        self.bundle = read_bundle(folder)
        self.device = pick_device(device, threads)

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, ready on the device."""
        return Denoiser(self.bundle, self.device)
