"""From a recipe's sections to networks: the class that a section names, with options checked against its signature."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch import nn

from ldctpipe.errors import UsageError
from ldctpipe.models.building import LARGEST_OPTION, UnbuildableError, sketched
from ldctpipe.recipes.schema import Network, Recipe

_ROOM = "ldctpipe.models"
_GIVEN = {"generator": "context", "critic": "patch_size"}  # what the data of a recipe decide, and no option


def build_generator(recipe: Recipe) -> nn.Module:
    """Return the recipe's denoising network with random weights.

    It maps (batch, 2 · context + 1, rows, columns) in [0, 1] to the centre slice, (batch, 1, rows, columns). Raises
    `UsageError` where the recipe names no network, or options that it doesn't take.
    """
    return _build(recipe.generator, "generator", recipe.data.context)


def build_critic(recipe: Recipe) -> nn.Module:
    """Return the recipe's critic or discriminator with random weights, for patches (batch, 1, patch_size, patch_size).

    Raises `UsageError` as `build_generator` does.
    """
    if recipe.critic is None:
        raise ValueError(f"recipe {recipe.name} has no critic")
    return _build(recipe.critic, "critic", recipe.data.patch_size)


def sketch_generator(recipe: Recipe) -> nn.Module:
    """Return the recipe's denoising network with shapes alone, which takes no memory; raises as `build_generator`."""
    return _sketch(recipe.generator, "generator", recipe.data.context)


def parameter_counts(recipe: Recipe) -> dict[str, int]:
    """Return the number of trainable parameters of the generator, and of the critic where there is one."""
    networks = {"generator": sketch_generator(recipe)}
    if recipe.critic is not None:
        networks["critic"] = _sketch(recipe.critic, "critic", recipe.data.patch_size)
    return {name: sum(each.numel() for each in network.parameters()) for name, network in networks.items()}


def completed(recipe: Recipe) -> Recipe:
    """Return the recipe with all options of its networks, those that it does not name as the networks have them.

    Raises `UsageError` where a network that it names is none, or its options are not what that takes.
    """
    network: Any = network_class(recipe.generator, "generator")
    takes_any = "context" in inspect.signature(network.__init__).parameters
    wanted = recipe.data.context if takes_any else getattr(network, "context", 0)
    if recipe.data.context != wanted:
        fault = f"data.context: {recipe.generator.network} sees {wanted} slices on each side of its own"
        raise UsageError(None, fault, f"set it to {wanted}")
    changed = {"generator": _completed(recipe.generator, "generator")}
    if recipe.critic is not None:
        changed["critic"] = _completed(recipe.critic, "critic")
    return recipe.model_copy(update=changed)


def _completed(section: Network, place: str) -> Network:
    # as JSON, so that a recipe is the same whether it was completed or read back from a bundle
    return Network(network=section.network, **_checked_options(section, place).model_dump(mode="json"))


def backbone_of(recipe: Recipe) -> str | None:
    """Return the timm network whose ImageNet weights the denoising network's encoder starts from, if it has one."""
    return recipe.generator.options.get("backbone")


def network_class(section: Network, place: str = "generator") -> type[nn.Module]:
    """Return the class that a section names; raises `UsageError` where there is none."""
    module, _, name = section.network.partition(".")
    found = getattr(import_module(f"{_ROOM}.{module}"), name, None) if find_spec(f"{_ROOM}.{module}") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        fault = f"{place}.network: there is no network {section.network!r}"
        raise UsageError(None, fault, "`ldctpipe recipes NAME` shows how others are named")
    return found


def _build(section: Network, place: str, given: int) -> nn.Module:
    """Return the network of a section; its size is judged before memory is taken for it."""
    _sketch(section, place, given)
    return _constructed(section, place, given)


def _sketch(section: Network, place: str, given: int) -> nn.Module:
    try:
        return sketched(lambda: _constructed(section, place, given))
    except UnbuildableError as error:
        known = f"`ldctpipe recipes NAME` prints the options of {section.network}"
        raise UsageError(None, f"{place}: {error}", known) from None


def _constructed(section: Network, place: str, given: int) -> nn.Module:
    network: Any = network_class(section, place)
    taken = inspect.signature(network.__init__).parameters
    return network(
        **dict(_checked_options(section, place)), **({_GIVEN[place]: given} if _GIVEN[place] in taken else {})
    )  # type: ignore[no-any-return]


def _checked_options(section: Network, place: str) -> BaseModel:
    """Return the options in the types of the network's signature."""
    for key, value in section.options.items():
        if any(abs(number) > LARGEST_OPTION or not math.isfinite(number) for number in _numbers(value)):
            fault = f"{place}.{key}: is beyond the limit of {LARGEST_OPTION:,}"
            raise UsageError(None, fault, f"`ldctpipe recipes NAME` prints the options of {section.network}")
    try:
        network: Any = network_class(section, place)
        options = _options_of(network, _GIVEN[place]).model_validate(section.options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (place, *first["loc"])))
        known = f"`ldctpipe recipes NAME` prints the options of {section.network}"
        raise UsageError(None, f"{where}: {first['msg']}", known) from None
    for key, value in dict(options).items():
        if isinstance(section.options.get(key), bool) and not isinstance(value, bool):
            fault = f"{place}.{key}: should be a number or a text, not {str(section.options[key]).lower()}"
            raise UsageError(None, fault, "correct it")
        if key == "backbone":
            _require_known_to_timm(place, value)
    return options


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)


def _require_known_to_timm(place: str, backbone: str) -> None:
    import timm  # seconds, which other networks need not wait for

    if not timm.is_model(backbone):
        raise UsageError(None, f"{place}.backbone: timm has no network {backbone!r}", "name one of timm's")


@cache
def _options_of(network: Any, given: str) -> type[BaseModel]:
    """Return a model of the options in a network's signature; `given` is not one of them."""
    hints = get_type_hints(network.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(network.__init__).parameters.items())[1:]:
        if name != given:
            fields[name] = (hints[name], ... if parameter.default is parameter.empty else parameter.default)
    return create_model(f"{network.__name__}Options", __config__=ConfigDict(extra="forbid", strict=False), **fields)
