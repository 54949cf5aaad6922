"""What is said of the recipes that ship: their list, and the card of each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ldctpipe.cli.app import run
from ldctpipe.recipes import library
from ldctpipe.recipes.library import shipped_names


@pytest.mark.parametrize("name", shipped_names())
def test_its_card_is_there(name):
    root = Path(library.__file__).parents[2]
    text = (Path(library.__file__).parent / f"{name}.yaml").read_text()
    cards = re.findall(r"docs/[\w/-]+\.md", text)

    assert all((root / card).is_file() for card in cards)
    index = (root / "docs/methods/README.md").read_text()
    assert re.search(rf"`{name}`", index) or name.startswith("wgan-gp-effnetv2-")


def test_the_list_has_a_line_a_recipe_the_flagship_first(capsys):
    assert run(["recipes"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()

    names = [line.split()[0] for line in lines]
    assert names[0] == "wgan-gp-effnetv2"
    assert names[1:] == sorted(set(shipped_names()) - {"wgan-gp-effnetv2"})
    assert head.split() == ["RECIPE", "STATUS", "PARAMETERS", "SLICES", "SOURCE"]
    (line,) = (line for line in lines if line.startswith("cpce-3d "))
    assert re.match(r"cpce-3d +published +118 k +9  Shan et al\.", line)


def test_the_list_for_programs_has_all_of_it(capsys):
    assert run(["recipes", "--json"]) == 0
    told = {recipe["name"]: recipe for recipe in json.loads(capsys.readouterr().out)}

    assert set(told) == set(shipped_names())
    assert told["du-gan"]["parameters"] == 185_569
    assert told["du-gan"]["critic_parameters"] == 57_213_839
    assert told["cagan"]["caution"].startswith("CaGAN has no public code")
    assert {"status", "source", "remark", "title", "slices", "network", "algorithm", "iterations"} <= set(told["tv"])
