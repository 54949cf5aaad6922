"""The `ldctpipe` program: its commands, and what each kind of failure prints and returns."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from ldctpipe import __version__
from ldctpipe.cli import (
    checksums,
    cohort,
    denoise,
    doctor,
    evaluate,
    explain,
    figure,
    ingest,
    inspect,
    phantom,
    prepare,
    protocols,
    recipes,
    record,
    report,
    samplesheet,
    simulate,
    sweep,
    sweep_report,
    train,
    validate_simulation,
    verify,
)
from ldctpipe.cli.bounds import bound_numbers
from ldctpipe.cli.streams import replace_unprintable
from ldctpipe.devices import let_threads_wait
from ldctpipe.errors import ExitCode, InputError, StoppedEarly
from ldctpipe.progress import discard, one_line, tell
from ldctpipe.provenance import run_time

app = typer.Typer(
    name="ldctpipe",
    help="Low-dose CT denoising: from raw DICOM to a trained denoiser, denoised DICOM and a report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
# In the order of a run.
for _command in (
    inspect, phantom, simulate, validate_simulation, samplesheet, ingest, prepare, train, denoise, explain, evaluate,
    report, sweep, sweep_report, checksums, record, verify, recipes, protocols, doctor,
):  # fmt: skip
    app.command(name=_command.__name__.rpartition(".")[2].replace("_", "-"))(_command.command)
app.add_typer(cohort.group, name="cohort")
app.add_typer(figure.group, name="figure")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ldctpipe {__version__}")
        raise typer.Exit()


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    run_time()  # refuses a bad SOURCE_DATE_EPOCH here; libraries read it too, each with an error of its own


def main() -> None:
    """Run the command line of this process and exit with a code of `ExitCode`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: without this, the next file opened would take its place
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end
    replace_unprintable()
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):  # the latter are schedulers' warnings
        signal.signal(number, _stop)
    let_threads_wait()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every failure the user can mend is one line on stderr."""
    code = _attempt(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            error.filename = "standard output"
            return _fail(_sentence(error), ExitCode.IO)
    return code


def _attempt(arguments: list[str]) -> int:
    try:
        return _invoke(arguments)
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer makes no public name of it
            tell(error.format_message())
            return ExitCode.USAGE
        hint = f"see {_command_in(arguments)} --help"
        return _fail(f"{error.format_message()} ({hint})", ExitCode.USAGE)
    except (InputError, StoppedEarly) as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            return ExitCode.DONE
        return _fail(_sentence(error), ExitCode.IO)
    except Exception:  # noqa: BLE001 - the last resort: whatever arrives here is a bug and shows itself in full
        tell(traceback.format_exc())
        return _fail(f"this is a bug in ldctpipe {__version__}: please report it with the lines above.", ExitCode.BUG)


def _command_in(arguments: list[str]) -> str:
    """Return the longest prefix of a command line that is a command, so that its --help works despite a typo."""
    command: Any = typer.main.get_command(app)
    words = ["ldctpipe"]
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def _invoke(arguments: list[str]) -> int:
    """Run one command line and return its exit code, without typer's `main`, which ends with 1 on a broken pipe."""
    program = typer.main.get_command(app)
    bound_numbers(program)
    try:
        with program.make_context("ldctpipe", list(arguments)) as context:
            result = program.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return int(result) if isinstance(result, int) else ExitCode.DONE


def _reader_left() -> bool:
    """Tell whether the program that read stdout ended (`| head`), which is its right."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in watch.poll(0))


def _fail(sentence: str, code: int) -> int:
    tell(f"ldctpipe: {one_line(sentence)}")
    return code


def _sentence(error: OSError) -> str:
    where = error.filename2 or error.filename or "standard output or a file"
    remedy = {
        errno.ENOSPC: "free some space and run the same command again",
        errno.EDQUOT: "free some of your quota and run the same command again",
        errno.EACCES: "give yourself the right to it or choose another path",
        errno.EROFS: "choose a path that can be written",
        errno.EEXIST: "a file lies where a folder is needed, so choose another path",
        errno.ENOTDIR: "a file lies where a folder is needed, so choose another path",
    }.get(error.errno or 0, "check the path and its file system")
    return f"{where}: {error.strerror or error}; {remedy}."


def _stop(number: int, _frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    raise StoppedEarly(f"stopped by {name}: nothing half-written is left; run the same command again to go on.")


if __name__ == "__main__":
    main()
