"""What a recipe needs beside a training store, read from its numbers and from the networks that it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ldctpipe.models.packaged_weights import package_of
from ldctpipe.recipes.library import load_recipe, shipped_names
from ldctpipe.recipes.networks import backbone_of, network_class
from ldctpipe.recipes.schema import Recipe
from ldctpipe.recipes.transfer import grows_from, misfit


@dataclass(frozen=True)
class Needs:
    """`encoder` and `perceptual` are timm networks whose ImageNet weights are loaded, `package` is an optional one.

    `start` holds the shipped recipes out of whose bundles the network is made to grow, `unpaired` tells that low and
    full dose of a batch are of different patients.
    """

    encoder: str | None
    perceptual: str | None
    package: str | None
    start: tuple[str, ...]
    unpaired: bool

    @property
    def marks(self) -> tuple[str, ...]:
        """Return a word or two for each, for a list of recipes."""
        networks = dict.fromkeys(name.partition(".")[0] for name in (self.encoder, self.perceptual) if name)
        package = (self.package,) if self.package else ()
        start = (f"--init {'|'.join(self.start)}",) if self.start else ()
        return (*networks, *package, *start, *(("unpaired",) if self.unpaired else ()))

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each: what it is for, and where it comes from."""
        return tuple(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if self.encoder:
            both = " and the perceptual loss" if self.perceptual == self.encoder else ""
            which = f"ImageNet weights of {self.encoder} for its encoder{both}"
            yield f"{which}: {_origin_of(self.encoder)}, or --backbone-weights FILE"
        if self.perceptual and self.perceptual != self.encoder:
            which = f"ImageNet weights of {self.perceptual} for the perceptual loss"
            yield f"{which}: {_origin_of(self.perceptual)}, or --perceptual-weights FILE"
        if self.package:
            yield f"the package {self.package}, which is not installed unasked: install ldctpipe[{self.package}]"
        if self.start:
            yield f"a trained bundle of {' or '.join(self.start)} to grow from, as published: --init BUNDLE"
        if self.unpaired:
            yield "no pairs: low and full dose of a batch are of different patients"


def needs_of(recipe: Recipe) -> Needs:
    """Return what a recipe needs; without --init and with --no-pretrained a training does without some of it."""
    return Needs(
        encoder=backbone_of(recipe),
        perceptual=recipe.losses.perceptual_network,
        package=getattr(network_class(recipe.generator), "needs_package", None),
        start=_starts_of(recipe),
        unpaired=recipe.data.pairing == "unpaired",
    )


def _origin_of(network: str) -> str:
    package = package_of(network)
    return f"the package {package.distribution} (extra {package.extra}), timm's hub" if package else "timm's hub"


def _starts_of(recipe: Recipe) -> tuple[str, ...]:
    wanted = grows_from(recipe.generator)
    if wanted is None:
        return ()
    known = [load_recipe(name) for name in shipped_names()]
    return tuple(each.name for each in known if each.generator.network == wanted and misfit(each, recipe) is None)
