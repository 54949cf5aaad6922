"""Numbers in options and in the environment: what is none, or absurd, is refused by name before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from small_dicom import write_series

from ldctpipe.cli.app import app, run
from ldctpipe.cli.bounds import bound_numbers
from ldctpipe.errors import ExitCode, UsageError
from ldctpipe.provenance import run_time

HOSTILE = ["nan", "inf", "-inf", "1e400", "1e200", "-1e200", "9" * 10_000, "9" * 30, "-" + "9" * 30]


def program() -> Any:
    command = typer.main.get_command(app)
    bound_numbers(command)
    return command


def numeric_options(command: Any) -> Iterator[Any]:
    for below in getattr(command, "commands", {}).values():
        yield from numeric_options(below)
    for parameter in command.params:
        if type(parameter.type).__name__.startswith(("Int", "Float")):
            yield parameter


def test_every_numeric_option_refuses_what_is_no_number() -> None:
    options = list(numeric_options(program()))
    assert len(options) > 40

    for option in options:
        for value in HOSTILE:
            with pytest.raises(typer.BadParameter) as refusal:
                option.type.convert(value, option, None)
            assert len(refusal.value.message) < 300, option.name


@pytest.mark.parametrize("option", ["--blend=nan", "--blend=inf", f"--threads={'9' * 10_000}", f"--threads={'9' * 30}"])
def test_the_refusal_is_one_line(option, capfd) -> None:
    code = run(["denoise", "nowhere", "out", "--model", "nowhere", option])

    said = capfd.readouterr().err.strip().splitlines()
    assert code == ExitCode.USAGE
    assert len(said) == 1
    assert option.partition("=")[0] in said[0]


@pytest.mark.parametrize("option", ["--dose-range=nan:1", "--dose-range=0.1:1e999", "--dose=nan", "--quanta=nan"])
def test_numbers_in_texts(option, capfd, tmp_path) -> None:
    write_series(tmp_path / "in", slices=1)

    assert run(["simulate", str(tmp_path / "in"), str(tmp_path / "out"), option]) == ExitCode.USAGE
    assert len(capfd.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("number", ["1", "0.5", "0", "1e-3"])
def test_good_numbers_pass(number, capfd) -> None:
    assert run(["denoise", "nowhere", "out", "--model", "nowhere", "--blend", number]) == ExitCode.INPUT


@pytest.mark.parametrize("epoch", ["abc", "-1", "1e999", " ", "1.5", "9" * 10_000, "999999999999", "١٢٣", "1_0"])
def test_a_source_date_that_is_none(monkeypatch, epoch, capfd) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)

    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        run_time()
    assert run(["protocols"]) == ExitCode.USAGE
    assert len(capfd.readouterr().err) < 250


def test_a_source_date_is_the_time_of_the_run(monkeypatch) -> None:
    for epoch, year in (("0", 1970), ("1700000000", 2023), ("253370764799", 9998)):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        assert run_time().year == year
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    assert run_time().year > 2024


@pytest.mark.parametrize("text", ["abc", "", "-1", "9" * 5000, "2.0"])
def test_a_count_of_slurm_that_is_none(monkeypatch, text) -> None:
    from ldctpipe.training.launch import _environment

    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", text)

    with pytest.raises(UsageError, match="SLURM_STEP_NUM_TASKS"):
        _environment(1, 1)
