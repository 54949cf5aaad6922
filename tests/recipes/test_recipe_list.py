"""What is said of the recipes that ship: their list, and the card of each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ldctpipe.cli.app import run
from ldctpipe.recipes import library, listing, shipped
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
    assert head.split() == ["RECIPE", "STATUS", "PARAMETERS", "SLICES", "NEEDS", "SOURCE"]
    (line,) = (line for line in lines if line.startswith("cpce-3d "))
    assert re.match(r"cpce-3d +reconstruction +118 k +9  vgg19, --init cpce-2d +Shan et al\.", line)


def test_the_list_tells_what_a_recipe_needs(capsys):
    assert run(["recipes", "--json"]) == 0
    needs = {recipe["name"]: recipe["needs"] for recipe in json.loads(capsys.readouterr().out)}

    assert needs["red-cnn"] == []
    assert needs["wgan-gp-effnetv2"] == ["tf_efficientnetv2_m"]
    assert needs["bm3d"] == ["bm3d"]
    assert needs["cpce-3d"] == ["vgg19", "--init cpce-2d"]
    assert needs["perceptual-attention-cyclegan"] == ["vgg19", "unpaired"]
    documented = (Path(library.__file__).parents[2] / "docs/methods/README.md").read_text()
    assert {name for name, marks in needs.items() if "unpaired" in marks} == {
        name for line in documented.splitlines() if " | unpaired, " in line for name in re.findall("`([^`]+)`", line)
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cpce-3d"], "# Needs a trained bundle of cpce-2d to grow from, as published: --init BUNDLE."),
        (
            ["cpce-2d"],
            "# Needs ImageNet weights of vgg19.tv_in1k for the perceptual loss: timm's hub, or --perceptual-w",
        ),
        (["bm3d"], "# Needs the package bm3d, which is not installed unasked: install ldctpipe[bm3d]."),
        (["cagan"], "# Needs no pairs: low and full dose of a batch are of different patients."),
    ],
)
def test_one_recipe_says_in_words_what_it_needs_and_stays_a_recipe(arguments, says, capsys, tmp_path):
    assert run(["recipes", *arguments]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "own.yaml").write_text(printed)

    assert says in printed
    assert library.load_recipe(str(tmp_path / "own.yaml")) == library.load_recipe(arguments[0])


def test_what_is_changed_is_needed_no_more(capsys):
    assert run(["recipes", "cpce-3d", "--set", "losses.perceptual=0.0", "--set", "generator.channels=8"]) == 0
    assert "# Needs" not in capsys.readouterr().out


def test_the_list_for_programs_has_all_of_it(capsys):
    assert run(["recipes", "--json"]) == 0
    told = {recipe["name"]: recipe for recipe in json.loads(capsys.readouterr().out)}

    assert set(told) == set(shipped_names())
    assert told["du-gan"]["parameters"] == 185_569
    assert told["du-gan"]["critic_parameters"] == 57_213_839
    assert told["cagan"]["caution"].startswith("CaGAN has no public code")
    assert {"status", "source", "remark", "title", "slices", "network", "algorithm", "iterations"} <= set(told["tv"])


def test_the_list_builds_no_network():
    program = (
        "import sys; from ldctpipe.cli.app import run; run(['recipes', '--json']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert len(json.loads(done.stdout)) == len(shipped_names())
    assert not {"torch", "timm", "numpy", "pydantic", "yaml"} & set(done.stderr.split())


def test_a_recipe_that_changed_or_is_new_is_listed_as_it_is_now(tmp_path, monkeypatch):
    own = "base: red-cnn\nname: own\ntitle: Own\nsource: none\nstatus: variant\ngenerator:\n  channels: 4\n"
    for path in shipped.FOLDER.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    (tmp_path / "own.yaml").write_text(own)
    edited = (tmp_path / "red-cnn.yaml").read_text().replace("name: red-cnn", "name: red-cnn # edited")
    (tmp_path / "red-cnn.yaml").write_text(edited)
    built = []
    for module in (shipped, listing, library):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(listing, "described", lambda name: built.append(name) or {"name": name})

    names = [recipe["name"] for recipe in listing.listed_recipes()]

    assert set(names) == {*shipped_names(), "own"}
    assert sorted(built) == ["own", "red-cnn"]
